"""What lies in a concept's folder: pictures, what belongs to them, and what is neither."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from textreg.captions import CAPTION_SUFFIXES, METADATA
from textreg.config import Images
from textreg.errors import UserError
from textreg.file_kinds import PICTURE_SUFFIXES, printable, skip_reason
from textreg.kohya_folders import kohya_folders
from textreg.masks import MASK_ENDING


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file or folder."""

    path: Path
    name: str
    """Relative to the concept's folder."""
    repeats: int
    reason: str | None
    """Why it is no picture of the concept; "" if it belongs to one; None: it is a picture."""


def has_pictures(folder: Path) -> bool:
    """Whether something visible in a folder is named like a picture; not if it cannot be listed."""
    try:
        return any(
            entry.suffix.lower() in PICTURE_SUFFIXES
            and not entry.name.startswith(".")
            and not entry.is_dir()
            for entry in folder.iterdir()
        )
    except OSError:
        return False


def concepts_below(folder: Path) -> list[Path]:
    """The visible folders with pictures in a folder that has none itself, by name."""
    if has_pictures(folder) or not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and has_pictures(p))


def folder_entries(folder: Path, settings: Images, metadata: Mapping[str, str]) -> list[Entry]:
    """Every entry by name: in the folder, in kohya's sub-folders, and where metadata points.

    Raises:
        OSError: a folder cannot be listed.
        UserError: metadata names what is not there, or the sub-folders hold several concepts.
    """
    below = kohya_folders(folder)
    if len({name.words for name in below.values()}) > 1:
        raise UserError(f"{printable(folder.name)}: has several concepts; give each by itself")
    repeats = {path: 1 for path in folder.iterdir() if path not in below}
    for own, name in below.items():
        repeats |= dict.fromkeys(own.iterdir(), name.repeats)
    for name in metadata:
        if not (folder / name).is_file():
            raise UserError(
                f"{METADATA}: names {printable(name)}, which is not there; remove its line or "
                "bring the picture back"
            )
        repeats.setdefault(folder / name, 1)
    stems = {path.with_suffix("") for path in repeats if path.suffix.lower() in PICTURE_SUFFIXES}
    used = {folder / METADATA} if settings.captions else set[Path]()
    if settings.captions:
        used |= {
            path
            for path in repeats
            if path.suffix.lower() in CAPTION_SUFFIXES and path.with_suffix("") in stems
        }
    return [
        Entry(
            path=path,
            name=path.relative_to(folder).as_posix(),
            repeats=repeats[path],
            reason="" if path in used and path.is_file() else _reason(path, stems, settings),
        )
        for path in sorted(repeats, key=str)
    ]


def _reason(path: Path, stems: set[Path], settings: Images) -> str | None:
    reason = _skip_reason(path)
    if reason is not None or not path.stem.endswith(MASK_ENDING):
        return reason
    if path.with_name(path.stem.removesuffix(MASK_ENDING)) not in stems:
        return "a mask without its picture; rename it to use it as one"
    return "" if settings.masks == "beside" else "mask, not used"


def _skip_reason(path: Path) -> str | None:
    """Says why a folder entry is no picture; None for a picture and for what claims to be one."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return "hidden folder" if path.name.startswith(".") else "folder"
        head = b""
        if stat.S_ISREG(mode) and skip_reason(path.name, b"") is not None:
            with path.open("rb") as file:
                head = file.read(64)
    except OSError:
        head = b""  # unreadable: what is named like a picture becomes an error when it is read
    return skip_reason(path.name, head)
