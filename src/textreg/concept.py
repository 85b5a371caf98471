"""A folder of pictures as one concept: what is in it, what is wrong with it.

`custom_datasets/data/<concept>/00.jpg ...` is the layout of the Concept Set; any folder works. All
checks run here, before a model is loaded, and each problem is one line that begins with a file
name.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from textreg.annotations import Annotation, Annotations, gaps
from textreg.captions import read_metadata
from textreg.concept_names import concept_noun
from textreg.config import Images
from textreg.errors import UserError
from textreg.file_kinds import printable
from textreg.folder_entries import concepts_below, folder_entries
from textreg.pictures import Picture, PictureError, read_checked, read_picture

__all__ = [
    "Folder",
    "Picture",
    "PictureError",
    "concept_noun",
    "folder_of_concepts",
    "inspect_folder",
    "read_picture",
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
    annotations: tuple[Annotation, ...] = ()
    """What belongs to each picture, in the same order."""

    @property
    def usable(self) -> bool:
        """Whether training may start."""
        return bool(self.pictures) and not self.errors

    def located(self, line: str) -> str:
        """An error or a warning behind the folder's path: others may have files of that name."""
        return f"{printable(str(self.path))}: {line.removeprefix(_own_name(self.path) + ': ')}"

    def record(self, name: str) -> dict[str, list[str]]:
        """Hashes of everything that training reads here, to find it changed later.

        Args:
            name: The concept's; its pictures' hashes go by it, those of what belongs to them, if
                there is anything, by NAME/annotations.
        """
        hashes = {name: [picture.sha256 for picture in self.pictures]}
        if any(annotation.digest for annotation in self.annotations):
            hashes[f"{name}/annotations"] = [a.digest for a in self.annotations]
        return hashes


def inspect_folder(
    path: Path,
    *,
    resolution: int | None = None,
    settings: Images | None = None,
    masks: Path | None = None,
) -> Folder:
    """Lists a concept's folder and decodes every picture and mask in it once.

    Args:
        path: The folder.
        resolution: Side in pixels of the pictures that training will see; smaller ones are warned
            about. None: `COMFORTABLE_SIDE`.
        settings: Whether captions and masks are read.
        masks: Folder with masks of the pictures' names; none: beside the pictures.

    Returns:
        Pictures, skipped entries and problems. A missing or unreadable folder, and one without
        pictures, is an error in the result; nothing is raised.
    """
    own_name = _own_name(path)
    settings = settings or Images()
    try:
        metadata = read_metadata(path) if settings.captions else {}
        entries = folder_entries(path, settings, metadata)
        finder = Annotations(settings=settings, masks=masks, metadata=metadata)
    except OSError as error:
        place = own_name if masks is None or error.filename != str(masks) else printable(str(masks))
        line = f"{place}: cannot be listed ({error.strerror}); check the path"
        return Folder(path=path, pictures=(), skipped=(), errors=(line,), warnings=())
    except UserError as error:
        return Folder(path=path, pictures=(), skipped=(), errors=(str(error),), warnings=())
    found: list[tuple[str, Picture, Annotation]] = []
    errors: list[str] = []
    warnings: list[str] = []
    first_with: dict[str, str] = {}
    skipped = [(printable(e.name), e.reason) for e in entries if e.reason]
    for entry in entries:
        name = printable(entry.name)
        if entry.reason is not None:
            if ";" in entry.reason:
                warnings.append(f"{name}: skipped, it is {entry.reason}")
            continue
        try:
            picture, image = read_checked(entry.path)
            annotation = finder.of(picture, entry.name, entry.repeats)
        except UserError as error:
            errors.append(name.removesuffix(printable(entry.path.name)) + str(error))
            continue
        found.append((name, picture, annotation))
        warnings += [f"{name}: {text}" for text in _doubts(image, resolution or COMFORTABLE_SIDE)]
        # Pixels, not files: a copy saved again with other metadata counts as a duplicate too.
        pixels = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
        original = first_with.setdefault(pixels, name)
        if original != name:
            warnings.append(f"{name}: the same picture as {original}; remove one of them")
    if not found and not errors:
        errors.append(f"{own_name}: {_why_empty(path, skipped)}")
    elif len(found) < ENOUGH_PICTURES:
        count = "1 usable picture" if len(found) == 1 else f"{len(found)} usable pictures"
        warnings.append(f"{own_name}: {count}; {ENOUGH_PICTURES} to 6 teach a concept better")
    annotations = tuple(annotation for _, _, annotation in found)
    return Folder(
        path=path,
        pictures=tuple(picture for _, picture, _ in found),
        skipped=tuple(skipped),
        errors=tuple(errors),
        warnings=(*warnings, *gaps([name for name, _, _ in found], annotations)),
        annotations=annotations,
    )


def _own_name(path: Path) -> str:
    return printable(os.path.basename(os.path.abspath(path)) or str(path))


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


def folder_of_concepts(path: Path) -> str | None:
    """What is wrong with a folder whose sub-folders have the pictures, in words; none: nothing."""
    if not (below := concepts_below(path)):
        return None
    one = printable(str(below[0]))
    return f"no pictures in this folder, but in {len(below)} in it; give those, like {one}"


def _why_empty(path: Path, skipped: list[tuple[str, str]]) -> str:
    if why := folder_of_concepts(path):
        return why
    foreign = [(name, reason) for name, reason in skipped if ";" in reason]
    if not foreign:
        return "no pictures in this folder; put 4 to 6 JPEG, PNG or WebP files there"
    name, reason = foreign[0]
    others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    return f"no JPEG, PNG or WebP in this folder, but {name}{others}: {reason}"
