"""Cells of two runs of one part in one JSON: the study grows over machines and days.

What decides a number must be the same on both sides (priors, sizes, judge); what may differ, the
hardware, precision and commit, is kept for each group of cells in `made`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textreg.compare.summary import curves, summarise
from textreg.errors import UserError

_DECIDES = ("priors", "features", "planned", "base")
_OF_SETTINGS = (
    "num_images",
    "epsilon_prompts",
    "seed",
    "inversion",
    "tuning_steps",
    "steps",
    "guidance",
    "sampler",
)
_MADE = ("hardware", "memory_gibibytes", "environment", "commit", "changed_since", "dtype")
_MADE += ("load_average", "niceness")
Content = Mapping[str, Any]


def merged(old: Content, new: Content) -> dict[str, Any]:
    """The cells of both; where both have one, the new.

    Raises:
        UserError: says what makes them no parts of one study.
    """
    for key in _DECIDES:
        _require_same(key, old[key], new[key])
    for key in _OF_SETTINGS:
        _require_same(f"settings.{key}", old["settings"].get(key), new["settings"].get(key))
    rows = _united(old["rows"], new["rows"], ("concept", "seed", "prior", "steps"))
    points = _united(old["points"], new["points"], ("concept", "seed", "prior", "step"))
    reference = new["summary"]["reference"]
    kept = rectangle(rows)
    shown = [row for row in rows if (row["concept"], row["seed"]) in kept]
    kinds = [kind for kind in ("steps", "time") if any(kind in row["equal"] for row in shown)]
    summary = {
        kind: summarise([row for row in shown if kind in row["equal"]], reference) for kind in kinds
    }
    lines = [point for point in points if (point["concept"], point["seed"]) in kept]
    return dict(new) | {
        "rows": rows,
        "points": points,
        "summary": {"reference": reference} | summary,
        "curves": curves(lines),
        "made": _made(old, new),
    }


def made_of(content: Content) -> list[dict[str, Any]]:
    """How each group of cells came about."""
    if "made" in content:
        return list(content["made"])
    places = sorted({(row["concept"], row["seed"]) for row in content["rows"]})
    how = {key: content[key] for key in _MADE if key in content}
    how["base_sha256"] = content["settings"].get("base_sha256")
    return [how | {"cells": [list(place) for place in places]}]


def _made(old: Content, new: Content) -> list[dict[str, Any]]:
    again = {tuple(cell) for entry in made_of(new) for cell in entry["cells"]}
    before = [
        entry | {"cells": [cell for cell in entry["cells"] if tuple(cell) not in again]}
        for entry in made_of(old)
    ]
    return [entry for entry in before if entry["cells"]] + made_of(new)


def _united(
    old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]], keys: Sequence[str]
) -> list[dict[str, Any]]:
    found = {tuple(entry[key] for key in keys): entry for entry in (*old, *new)}
    return list(found.values())


def rectangle(rows: Sequence[Content]) -> set[tuple[str, int]]:
    """Places (concept, seed) whose seed every concept has, for intervals over seeds within each."""
    places = {(row["concept"], row["seed"]) for row in rows}
    seeds = [{s for c, s in places if c == name} for name in {c for c, _ in places}]
    return {(concept, seed) for concept, seed in places if seed in set.intersection(*seeds)}


def _require_same(key: str, old: Any, new: Any) -> None:
    if old != new:
        raise UserError(f"{key} is {old!r} in the results there, {new!r} here: no one study")
