"""Paths within a comparison's folder, spelled as they were when a run began.

They are part of what tells runs apart, and the folder may be named otherwise now, or have moved.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from textreg.compare.failures import done
from textreg.config import Run
from textreg.run_folder import RunFolder
from textreg.run_record import read_record


def as_begun(run: Run, out: Path) -> Run:
    """The run with such paths as its record has them.

    Only where they still lead to the same, or where the run is done and reads them no more.

    Args:
        run: a cell's, or a batch's.
        out: the comparison's folder.
    """
    if not RunFolder(run).begun:
        return run
    there = read_record(run.out)["run"]
    word, pictures = run.inversion.embedding, run.class_images.folder
    begun_word = _recorded(word, out, there.get("inversion"), "embedding")
    begun_pictures = _recorded(pictures, out, there.get("class_images"), "folder")
    begun = replace(
        run,
        inversion=replace(run.inversion, embedding=begun_word),
        class_images=replace(run.class_images, folder=begun_pictures),
    )
    same = _same(word, begun_word) and _same(pictures, begun_pictures)
    return begun if same or done(begun) else run


def _recorded(here: Path | None, out: Path, section: Any, key: str) -> Path | None:
    """The recorded path, if it ends as this one does within the comparison's folder."""
    if here is None or not here.is_relative_to(out) or not isinstance(section, dict):
        return here
    there, tail = Path(str(section.get(key))), here.relative_to(out).parts
    return there if there.parts[-len(tail) :] == tail else here


def _same(here: Path | None, there: Path | None) -> bool:
    if here == there or here is None or there is None:
        return here == there
    return here.exists() and there.exists() and here.samefile(there)
