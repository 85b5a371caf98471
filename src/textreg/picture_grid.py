"""Pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

_GAP = 2


def grid(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """One picture of rows of equally large pictures, on white."""
    width, height = rows[0][0].size
    columns = max(len(row) for row in rows)
    size = (columns * (width + _GAP) - _GAP, len(rows) * (height + _GAP) - _GAP)
    sheet = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * (width + _GAP), y * (height + _GAP)))
    return sheet
