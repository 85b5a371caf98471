"""Waves: more concepts than one batch holds train in groups, one group after the other.

Each wave has its checkpoints in a folder named by its concepts, checkpoints/concepts-0001-0016, or
in checkpoints/ itself if it is the only one. A wave that has begun keeps its concepts whatever the
batch is now; `done.json`, written after its adapters, says that nothing of it is touched again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textreg.checkpoint import has_checkpoint, publish
from textreg.errors import UserError

_FOLDER = re.compile(r"concepts-(\d{4,})-(\d{4,})")
_DONE = "done.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wave:
    """A group of a run's concepts that train in one batch."""

    first: int
    """Place of its first concept in the run, from 0."""
    end: int
    """Place after its last one."""
    folder: Path
    """Where its checkpoints lie."""

    @property
    def lost(self) -> dict[str, str] | None:
        """What happened to its concepts in quarantine, by name; none while it is not done."""
        try:
            return json.loads((self.folder / _DONE).read_text(encoding="utf-8"))["quarantined"]
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{self.folder / _DONE}: is damaged; delete it to go on") from None

    def close(self, lost: Mapping[str, str]) -> None:
        """Say that its adapters are written; `lost`: what happened to those that have none."""
        content = json.dumps({"quarantined": dict(lost)}, ensure_ascii=False)
        publish(self.folder / _DONE, content.encode())


def waves_of(checkpoints: Path, concepts: int, size: int) -> list[Wave]:
    """Those that have begun, as they are; the other concepts, between and after them, in groups.

    Args:
        checkpoints: the run's folder for them.
        concepts: how many the run has.
        size: concepts in a group.

    Raises:
        UserError: what is there are no waves of one run.
    """
    if has_checkpoint(checkpoints):
        return waves_between(checkpoints, [concepts])
    ends: list[int] = []
    for first, end in [*_begun(checkpoints, concepts), (concepts, concepts)]:
        ends += [min(start + size, first) for start in range(ends[-1] if ends else 0, first, size)]
        ends += [end] if end > first else []
    return waves_between(checkpoints, ends)


def waves_between(checkpoints: Path, ends: Sequence[int]) -> list[Wave]:
    """The waves that end there, one after the other."""
    if len(ends) == 1:
        return [Wave(first=0, end=ends[0], folder=checkpoints)]
    return [
        Wave(first=first, end=end, folder=checkpoints / f"concepts-{first + 1:04}-{end:04}")
        for first, end in zip([0, *ends[:-1]], ends, strict=True)
    ]


def _begun(checkpoints: Path, concepts: int) -> list[tuple[int, int]]:
    """Where each wave that has begun begins and ends, in order; ranks begin several at once."""
    found: list[tuple[int, int]] = []
    for folder in sorted(checkpoints.glob("concepts-*")):
        name = _FOLDER.fullmatch(folder.name)
        if name is None or not has_checkpoint(folder):
            continue
        first, end = int(name[1]) - 1, int(name[2])
        if first < (found[-1][1] if found else 0) or not first < end <= concepts:
            raise UserError(
                f"{folder}: does not follow the wave before it; choose another --out, or delete "
                f"{checkpoints} to start over"
            )
        found.append((first, end))
    return found
