"""Runs of a comparison that ended in quarantine: what is kept of them, and who is compared then.

cells/cat/seed-0/none/quarantine.json     why; it is not trained again while this is there
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textreg.checkpoint import publish
from textreg.config import Run
from textreg.errors import QuarantineError, UserError
from textreg.run_folder import RunFolder

if TYPE_CHECKING:
    from textreg.compare.cells import Cell

_FILE = "quarantine.json"


def record_failure(run: Run, why: str) -> None:
    """Keep that a run of one concept has ended in quarantine; its folder is the run's already."""
    publish(run.out / _FILE, json.dumps({"why": why}, ensure_ascii=False).encode())


def failure_of(run: Run) -> str | None:
    """Why a run has ended in quarantine; none: it has not.

    Raises:
        UserError: what is kept of it is damaged.
    """
    path = run.out / _FILE
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["why"])
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: is damaged; delete {run.out} to train that again") from None


def done(run: Run) -> bool:
    """Whether nothing of a run is left to train."""
    return failure_of(run) is not None or RunFolder(run).finished


def failures(cells: Sequence[Cell], out: Path) -> list[dict[str, Any]]:
    """Of each run that ended in quarantine, its folder within the comparison's, and why."""
    runs = {run.out: run for cell in cells for run in (cell.word, cell.run)}
    found = {place: failure_of(run) for place, run in runs.items()}
    return [
        {"run": str(place.relative_to(out)), "why": why}
        for place, why in found.items()
        if why is not None
    ]


def failure_line(failure: dict[str, Any]) -> str:
    """What to tell of one of `failures`."""
    return f"{failure['run']}: {failure['why']}; to train it again, delete that folder"


def compared(cells: Sequence[Cell], out: Path) -> set[tuple[str, int]]:
    """The (concept, seed) that all priors are compared at.

    Every concept with every seed, as intervals over seeds within concepts need it: where one has
    failed, either its seed is left out or its concept, whichever leaves more.

    Raises:
        QuarantineError: nothing is left.
    """
    lost = {cell.place for cell in cells if failure_of(cell.word) or failure_of(cell.run)}
    places = {cell.place for cell in cells}
    names, seeds = ({place[n] for place in lost} for n in (0, 1))
    without_seeds = {place for place in places if place[1] not in seeds}
    without_names = {place for place in places if place[0] not in names}
    left = max(without_seeds, without_names, key=len)
    if not left:
        first, *others = failures(cells, out)
        more = f" (and {len(others)} more runs)" if others else ""
        line = f"nothing is left to compare: {failure_line(first)}{more}"
        raise QuarantineError(dict.fromkeys((name for name, _ in lost), line))
    return left


def not_compared(cells: Sequence[Cell], kept: set[tuple[str, int]], out: Path) -> list[str]:
    """What the report says of `failures`, and of the cells that are not compared because of them.

    Args:
        cells: all of them.
        kept: what `compared` gave.
        out: the comparison's folder.
    """
    lines = [failure_line(failure) for failure in failures(cells, out)]
    places = sorted({cell.place for cell in cells} - kept)
    if places:
        words = ", ".join(f"{name} seed {seed}" for name, seed in places)
        lines.append(f"by all priors, so that every concept has every seed: {words}")
    return lines
