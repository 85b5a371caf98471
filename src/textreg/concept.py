"""A folder of pictures as one concept: what is in it, what is wrong with it, what training sees.

`custom_datasets/data/<concept>/00.jpg ...` is the layout of the Concept Set; any folder works. All
checks run here, before a model is loaded, and each problem is one line that begins with a file
name.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance

from textreg.concept_names import concept_noun
from textreg.file_kinds import printable, skip_reason
from textreg.pictures import Picture, PictureError, read_checked, read_picture

if TYPE_CHECKING:
    import torch

__all__ = [
    "Folder",
    "Picture",
    "PictureError",
    "concept_noun",
    "inspect_folder",
    "read_picture",
    "training_view",
]

ENOUGH_PICTURES = 4
"""The method was published with 4 to 6 a concept."""

COMFORTABLE_SIDE = 256
"""Pixels of the short side below which a picture is visibly enlarged in training."""

COMFORTABLE_ASPECT = 3
"""Long side over short side above which a square crop shows less than a third."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """What `inspect_folder` found; every text is safe to print."""

    path: Path
    """The folder."""
    pictures: tuple[Picture, ...]
    """The readable pictures, by name."""
    skipped: tuple[tuple[str, str], ...]
    """(printable name, reason) of everything that is not meant as a picture of the concept."""
    errors: tuple[str, ...]
    """One line each; any of them makes the folder unusable."""
    warnings: tuple[str, ...]
    """One line each; training works, the result may suffer."""

    @property
    def usable(self) -> bool:
        """Whether training may start."""
        return bool(self.pictures) and not self.errors


def inspect_folder(path: Path, *, resolution: int | None = None) -> Folder:
    """Lists a concept's folder and decodes every picture in it once.

    Args:
        path: The folder.
        resolution: Side in pixels of the pictures that training will see; smaller ones are warned
            about. None: `COMFORTABLE_SIDE`.

    Returns:
        Pictures, skipped entries and problems. A missing or unreadable folder, and one without
        pictures, is an error in the result; nothing is raised.
    """
    pictures: list[Picture] = []
    skipped: list[tuple[str, str]] = []
    errors: list[str] = []
    warnings: list[str] = []
    first_with: dict[str, str] = {}
    own_name = printable(os.path.basename(os.path.abspath(path)) or str(path))
    try:
        entries = sorted(path.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        line = f"{own_name}: cannot be listed ({error.strerror}); check the path"
        return Folder(path=path, pictures=(), skipped=(), errors=(line,), warnings=())
    for entry in entries:
        name = printable(entry.name)
        reason = _skip_reason(entry)
        if reason:
            if ";" in reason:
                warnings.append(f"{name}: skipped, it is {reason}")
            skipped.append((name, reason))
            continue
        try:
            picture, image = read_checked(entry)
        except PictureError as error:
            errors.append(str(error))
            continue
        pictures.append(picture)
        warnings += [f"{name}: {text}" for text in _doubts(image, resolution or COMFORTABLE_SIDE)]
        # Pixels, not files: a copy saved again with other metadata counts as a duplicate too.
        pixels = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
        original = first_with.setdefault(pixels, name)
        if original != name:
            warnings.append(f"{name}: the same picture as {original}; remove one of them")
    if not pictures and not errors:
        errors.append(f"{own_name}: {_why_empty(skipped)}")
    elif len(pictures) < ENOUGH_PICTURES:
        count = "1 usable picture" if len(pictures) == 1 else f"{len(pictures)} usable pictures"
        warnings.append(f"{own_name}: {count}; {ENOUGH_PICTURES} to 6 teach a concept better")
    return Folder(
        path=path,
        pictures=tuple(pictures),
        skipped=tuple(skipped),
        errors=tuple(errors),
        warnings=tuple(warnings),
    )


def _skip_reason(entry: Path) -> str | None:
    """Says why a folder entry is no picture; None for a picture and for what claims to be one."""
    try:
        mode = entry.stat().st_mode
        if stat.S_ISDIR(mode):
            return "hidden folder" if entry.name.startswith(".") else "folder"
        head = b""
        if stat.S_ISREG(mode) and skip_reason(entry.name, b"") is not None:
            with entry.open("rb") as file:
                head = file.read(64)
    except OSError:
        head = b""  # unreadable: what is named like a picture becomes an error when it is read
    return skip_reason(entry.name, head)


def _doubts(image: Image.Image, resolution: int) -> list[str]:
    """Names what makes a readable picture a poor one to learn from."""
    size = f"{image.width} x {image.height} pixels"
    short, long = sorted(image.size)
    doubts = []
    if short < resolution:
        doubts.append(f"{size} is small; training enlarges it, {resolution} a side is better")
    if long > COMFORTABLE_ASPECT * short:
        doubts.append(f"{size} is long; a square of it shows little, crop it to the subject")
    if all(low == high for low, high in np.array(image.getextrema()).reshape(-1, 2)):
        doubts.append("is a single colour; there is nothing to learn from it")
    return doubts


def _why_empty(skipped: list[tuple[str, str]]) -> str:
    foreign = [(name, reason) for name, reason in skipped if ";" in reason]
    if not foreign:
        return "no pictures in this folder; put 4 to 6 JPEG, PNG or WebP files there"
    name, reason = foreign[0]
    others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    return f"no JPEG, PNG or WebP in this folder, but {name}{others}: {reason}"


def training_view(
    image: Image.Image,
    *,
    resolution: int,
    center_crop: bool,
    flip: bool,
    brightness: float,
    contrast: float,
    crop_position: tuple[float, float],
) -> torch.Tensor:
    r"""Returns what training sees of a picture: resized, cropped, flipped, jittered, scaled.

    The short side is resized to `resolution` (bilinear, antialiased), a square is cut out, and then
    x = (v clipped to 0..255) / 127.5 - 1, where v is the pixel times `brightness`, then moved from
    the mean grey m of the whole view by `contrast`: v' = m + contrast (v - m). Both on 8-bit
    pixels, in this order, as torchvision's ColorJitter defines them.

    Args:
        image: Mode RGB, from `read_picture`.
        resolution: Side of the view in pixels.
        center_crop: Cut from the middle; `crop_position` is then ignored.
        flip: Mirror left and right.
        brightness: Factor, 1 leaves the picture as it is.
        contrast: Factor, 1 leaves the picture as it is.
        crop_position: (left, top) of the cut, each in 0..1 of the free space; uniform numbers give
            every whole-pixel position the same chance.

    Returns:
        float32 in -1..1, shape [3, resolution, resolution].

    Raises:
        ValueError: Another mode, or a number outside its range.
    """
    import torch

    if image.mode != "RGB":
        raise ValueError(f"training_view needs an RGB picture, not {image.mode}: use read_picture")
    if resolution < 1 or brightness < 0 or contrast < 0:
        raise ValueError("resolution must be at least 1, brightness and contrast at least 0")
    if not all(0 <= position <= 1 for position in crop_position):
        raise ValueError(f"crop_position must lie in 0..1, not {crop_position}")
    width, height = image.size
    short = min(width, height)
    width, height = resolution * width // short, resolution * height // short
    view = image
    if view.size != (width, height):
        view = view.resize((width, height), Image.Resampling.BILINEAR)
    free = (width - resolution, height - resolution)
    if center_crop:
        left, top = (round(space / 2) for space in free)
    else:
        left, top = (
            min(int(position * (space + 1)), space)
            for position, space in zip(crop_position, free, strict=True)
        )
    view = view.crop((left, top, left + resolution, top + resolution))
    if flip:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if brightness != 1:
        view = ImageEnhance.Brightness(view).enhance(brightness)
    if contrast != 1:
        view = ImageEnhance.Contrast(view).enhance(contrast)
    pixels = np.asarray(view, dtype=np.float32) / 127.5 - 1
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
