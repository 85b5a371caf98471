"""Masks of the subject: NAME-masklabel.png beside NAME.jpg, another folder, or the transparency.

White counts in the loss, black does not, grey counts in part. The naming beside the pictures is
OneTrainer's; a folder of masks with the pictures' names and the pictures' own transparency are what
kohya's tools take.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from textreg.errors import UserError
from textreg.file_kinds import PICTURE_SUFFIXES, printable
from textreg.pictures import Picture, read_with_alpha

MASK_ENDING = "-masklabel"
"""Of the stem of a mask's name."""


def mask_files(folder: Path, ending: str) -> dict[str, list[Path]]:
    """A folder's masks, by the stem of the picture that each belongs to.

    Args:
        folder: Where they lie.
        ending: What a mask's stem has behind its picture's.

    Raises:
        OSError: the folder cannot be listed.
    """
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        named = file.stem.endswith(ending) and file.suffix.lower() in PICTURE_SUFFIXES
        if named and not file.name.startswith("."):
            found.setdefault(file.stem.removesuffix(ending), []).append(file)
    return found


def read_mask(file: Path, picture: Picture) -> tuple[Picture, Image.Image] | None:
    """Reads a mask, or a picture's transparency; None: the picture is opaque, so all counts.

    Returns:
        Its record, and a picture of mode L.

    Raises:
        UserError: it is unreadable, of another size than its picture, or black.
    """
    record, image, alpha = read_with_alpha(file)
    name = printable(file.name)
    if file == picture.path:
        if alpha is None:
            return None
        mask = alpha
    else:
        mask = image.convert("L")
        if alpha is not None:  # where there is nothing, nothing is white
            mask = ImageChops.multiply(mask, alpha)
    if mask.size != (picture.width, picture.height):
        raise UserError(
            f"{name}: has {mask.width} x {mask.height} pixels, its picture "
            f"{picture.width} x {picture.height}; give both one size"
        )
    if mask.getextrema()[1] == 0:
        raise UserError(f"{name}: nothing in it is white, so nothing would be learned")
    return record, mask


def unchanged_mask(record: Picture, picture: Picture) -> Image.Image | None:
    """Read a mask that was checked before; it must be the same file still.

    Raises:
        UserError: it is not.
    """
    read = read_mask(record.path, picture)
    if read is not None and read[0].sha256 != record.sha256:
        raise UserError(f"{record.path}: changed while it was being read; start again")
    return read and read[1]


def middle_is_black(mask: Image.Image) -> bool:
    """Whether nothing in the middle square, which training cuts out, counts."""
    side = min(mask.size)
    left, top = (mask.width - side) // 2, (mask.height - side) // 2
    return not np.asarray(mask.crop((left, top, left + side, top + side))).any()
