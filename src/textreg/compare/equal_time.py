"""How many steps each prior gets in the time that the reference takes (docs/compare.md).

    steps = floor(N s_reference / s_prior),   s: median seconds of a step of stage 2

never more than N, and N itself where the two differ by less than the clock's own scatter.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textreg.checkpoint import publish
from textreg.compare.cells import Cell
from textreg.config import Run
from textreg.run_folder import RunFolder

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


def settings_digest(run: Run) -> str:
    """Names what all runs of a prior share: what decides their result but concept, seed, places."""
    data = run.identity()
    del data["concepts"], data["seed"]
    data["inversion"].pop("embedding", None)
    data["class_images"].pop("folder", None)
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def entry(
    steps: int, seconds: float, reference_seconds: float, made: Mapping[str, Any]
) -> dict[str, Any]:
    """What equal_time.json keeps of a prior.

    Args:
        steps: of stage 2, at equal steps.
        seconds: of one, for a concept.
        reference_seconds: the reference's.
        made: what it holds for: "settings" by `settings_digest` and "sharing" by `sharing`. A key
            that is left out, as earlier versions left both, makes no difference.
    """
    return {
        "steps": steps_in_time(steps, seconds, reference_seconds),
        "seconds_per_step": seconds,
        **made,
    }


def sharing(cells: Sequence[Cell]) -> list[int]:
    """How many concepts shared the steps of these finished cells: each number that occurs."""
    found = (RunFolder(cell.run).chosen("batch_concepts") for cell in cells)
    return sorted({count for count in found if count is not None})


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
        path: equal_time.json; a prior that is in it keeps its steps, whatever a later clock says,
            while its settings and the number of concepts that share a step stay the same.
    """
    labels = list(dict.fromkeys(cell.variant.label for cell in cells))
    kept: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    total = cells[0].run.tuning.steps
    known: dict[str, Any] = kept.setdefault(key_of(labels[0], total), {})
    for label in labels:
        own = [cell for cell in cells if cell.variant.label == label]
        made = {"settings": settings_digest(own[0].run), "sharing": sharing(own)}
        if label in known and all(known[label].get(key, made[key]) == made[key] for key in made):
            continue
        if label == labels[0]:
            known.clear()  # all others were measured against it
        seconds = seconds_per_step(own)
        reference = known.get(labels[0], {"seconds_per_step": seconds})["seconds_per_step"]
        known[label] = entry(total, seconds, reference, made)
        publish(path, json.dumps(kept, indent=2).encode())
    return known


def unequal_company(known: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """A line on each prior whose steps other numbers of concepts shared than the reference's.

    Args:
        known: what `equal_time` gave.
        labels: the priors, the reference first.
    """
    company = {label: known[label].get("sharing") for label in labels}
    theirs = company[labels[0]]
    return [
        f"equal company at equal time: {label!r} had steps shared by {_words(own)} concepts, "
        f"{labels[0]!r} by {_words(theirs)}, and a shared step is cheaper for each"
        for label, own in company.items()
        if own and theirs and own != theirs
    ]


def _words(counts: Sequence[int]) -> str:
    return " and ".join(map(str, counts))
