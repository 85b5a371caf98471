"""A picture as a PNG file that is there whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from textreg.checkpoint import publish


def png_bytes(picture: Image.Image) -> bytes:
    """The picture, as PNG."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def publish_png(path: Path, picture: Image.Image) -> None:
    """Publish a picture.

    Raises:
        UserError: as `publish`.
    """
    publish(path, png_bytes(picture))
