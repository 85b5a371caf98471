"""Folders as kohya's tools want them: img/10_krk1 dog/00.jpg is 10 repeats of the dog krk1."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from textreg.concept_names import concept_noun
from textreg.file_kinds import PICTURE_SUFFIXES


@dataclass(frozen=True, kw_only=True, slots=True)
class KohyaName:
    """What a folder's name says."""

    repeats: int
    identifier: str
    """As a new word, in angle brackets: kohya's tools know no new words."""
    noun: str

    @property
    def words(self) -> tuple[str, str]:
        """What makes two folders one concept."""
        return self.identifier, self.noun


def kohya_name(name: str) -> KohyaName | None:
    """Reads REPEATS_IDENTIFIER NOUN; None for any other name, "1_dog" among them."""
    parts = re.fullmatch(r"(\d{1,6})_([\w.-]+)\s+(.+)", name)
    if parts is None or int(parts[1]) < 1:
        return None
    noun = concept_noun(parts[3].strip().lower())
    if noun is None:
        return None
    return KohyaName(repeats=int(parts[1]), identifier=f"<{parts[2].lower()}>", noun=noun)


def kohya_folders(folder: Path) -> dict[Path, KohyaName]:
    """The sub-folders that are so named, if no picture lies beside them, by name.

    Raises:
        OSError: the folder cannot be listed.
    """
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    if any(e.suffix.lower() in PICTURE_SUFFIXES and e.name[0] != "." for e in entries):
        return {}
    names = {entry: kohya_name(entry.name) for entry in entries if entry.is_dir()}
    return {entry: name for entry, name in names.items() if name is not None}


def concept_folders(folder: Path) -> dict[Path, KohyaName]:
    """The concepts that kohya's names tell of in a folder or its sub-folders; none: none.

    Sub-folders of one concept alone are read together, as the folder; of several, each is one.
    """
    own = kohya_name(folder.name)
    if own is not None:
        return {folder: own}
    try:
        below = kohya_folders(folder)
    except OSError:
        return {}
    if len({name.words for name in below.values()}) == 1:
        return {folder: next(iter(below.values()))}
    return below
