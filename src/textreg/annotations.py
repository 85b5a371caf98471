"""What lies beside a picture and belongs to it: captions, a mask of the subject, its repeats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from textreg.captions import captions_beside
from textreg.config import Images
from textreg.errors import UserError
from textreg.file_kinds import printable
from textreg.masks import MASK_ENDING, mask_files, middle_is_black, read_mask
from textreg.pictures import Picture


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """What is known of a picture beside its pixels."""

    captions: tuple[str, ...] = ()
    """As written; none: the templates are used."""
    mask: Picture | None = None
    """The mask's file, or the picture's own for its transparency; none: all of it counts."""
    repeats: int = 1
    """How often it is seen, against the concept's other pictures."""

    @property
    def digest(self) -> str:
        """Hash of everything here; "" of a picture without anything."""
        if self == Annotation():
            return ""
        known = [self.captions, self.mask and self.mask.sha256, self.repeats]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()


@dataclass(kw_only=True)
class Annotations:
    """Finds what belongs to the pictures of a concept."""

    settings: Images
    masks: Path | None
    """Folder of masks with the pictures' names; none: beside each picture."""
    metadata: Mapping[str, str]
    """Captions by the picture's name, from metadata.jsonl."""
    _masks: dict[Path, dict[str, list[Path]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """List the folder of masks.

        Raises:
            OSError: it cannot be.
        """
        if self.masks is not None:
            self._masks[self.masks] = mask_files(self.masks, "")

    def of(self, picture: Picture, name: str, repeats: int) -> Annotation:
        """What belongs to a picture.

        Args:
            picture: Its record.
            name: Relative to the concept's folder.
            repeats: What its folder says.

        Raises:
            UserError: something of it cannot be used; begins with that file's name.
        """
        return Annotation(
            captions=self._captions(picture, name), mask=self._mask(picture), repeats=repeats
        )

    def _captions(self, picture: Picture, name: str) -> tuple[str, ...]:
        if not self.settings.captions:
            return ()
        beside, listed = captions_beside(picture.path), self.metadata.get(name)
        if listed is None:
            return beside
        if beside and beside != (listed,):
            raise UserError(
                f"{printable(picture.path.name)}: its caption in metadata.jsonl is not the one in "
                "the file beside it; keep one of the two"
            )
        return (listed,)

    def _mask(self, picture: Picture) -> Picture | None:
        file = self._mask_file(picture.path)
        if file is None or (read := read_mask(file, picture)) is None:
            return None
        record, mask = read
        cut = self.settings.center_crop and not self.settings.buckets
        if cut and middle_is_black(mask):
            raise UserError(
                f"{printable(file.name)}: the middle square, which training sees, is black; crop "
                "the picture to its subject, or set images.center_crop: false"
            )
        return record

    def _mask_file(self, picture: Path) -> Path | None:
        if self.settings.masks != "beside":
            return picture if self.settings.masks == "alpha" else None
        found = self._beside(picture.parent).get(picture.stem, [])
        if len(found) > 1:
            names = " and ".join(printable(file.name) for file in found)
            raise UserError(f"{printable(picture.name)}: has several masks, {names}; remove one")
        return found[0] if found else None

    def _beside(self, folder: Path) -> dict[str, list[Path]]:
        place, ending = (folder, MASK_ENDING) if self.masks is None else (self.masks, "")
        if place not in self._masks:
            self._masks[place] = mask_files(place, ending)
        return self._masks[place]


def gaps(names: Sequence[str], annotations: Sequence[Annotation]) -> list[str]:
    """Warnings about pictures that lack what others of the concept have, and long captions."""
    captions = any(a.captions for a in annotations)
    masks = any(a.mask for a in annotations)
    found: list[str] = []
    for name, own in zip(names, annotations, strict=True):
        if captions and not own.captions:
            found.append(f"{name}: has no caption; the templates are used for it")
        if masks and not own.mask:
            found.append(f"{name}: has no mask; all of it counts")
        longest = max((len(caption.split()) for caption in own.captions), default=0)
        if longest > LONG_CAPTION:
            found.append(f"{name}: a caption of {longest} words; a base reads about {LONG_CAPTION}")
    return found


LONG_CAPTION = 60
"""Words, about 77 tokens."""
