"""How many steps each prior gets in the time that the reference takes (docs/compare.md).

    steps = floor(N s_reference / s_prior),   s: median seconds of a step of stage 2

never more than N, and N itself where the two differ by less than the clock's own scatter.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textreg.checkpoint import publish
from textreg.compare.cells import Cell

TOLERANCE = 0.05
"""Relative difference in measured seconds per step that counts as none."""


def steps_in_time(steps: int, seconds: float, reference_seconds: float) -> int:
    """Steps of `seconds` each that fit into `steps` of the reference's."""
    if seconds <= (1 + TOLERANCE) * reference_seconds:
        return steps
    return max(1, math.floor(steps * reference_seconds / seconds))


def key_of(reference: str, steps: int) -> str:
    """Where equal_time.json keeps what was measured against a prior of so many steps."""
    return f"against {reference}, {steps} steps"


def entry(steps: int, seconds: float, reference_seconds: float) -> dict[str, Any]:
    """What equal_time.json keeps of a prior."""
    return {
        "steps": steps_in_time(steps, seconds, reference_seconds),
        "seconds_per_step": seconds,
    }


def seconds_per_step(cells: Sequence[Cell]) -> float:
    """Median over every step of stage 2 in these finished cells' metrics.jsonl."""
    seconds: list[float] = []
    for cell in cells:
        lines = (cell.run.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
        seconds += [line["seconds"] for line in found if line["stage"] == "tuning"]
    return statistics.median(seconds)


def equal_time(cells: Sequence[Cell], path: Path) -> dict[str, Any]:
    """Steps and seconds per step by label; measured once, then read.

    Args:
        cells: all finished, the reference's first.
        path: equal_time.json; a prior that is in it keeps its steps, whatever a later clock says.
    """
    labels = list(dict.fromkeys(cell.variant.label for cell in cells))
    kept: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    total = cells[0].run.tuning.steps
    known: dict[str, Any] = kept.setdefault(key_of(labels[0], total), {})
    for label in labels:
        if label not in known:
            own = seconds_per_step([c for c in cells if c.variant.label == label])
            reference = known.get(labels[0], {"seconds_per_step": own})["seconds_per_step"]
            known[label] = entry(total, own, reference)
            publish(path, json.dumps(kept, indent=2).encode())
    return known
