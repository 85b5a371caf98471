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
    "tuning",
    "batch_size",
    "versions",
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
        require_same(key, old[key], new[key])
    for key in _OF_SETTINGS:
        require_same(f"settings.{key}", old["settings"].get(key), new["settings"].get(key))
    rows = _rows(old["rows"], new["rows"])
    places = ("concept", "seed", "prior", "step")
    points = list(
        {tuple(p[k] for k in places): p for p in (*old["points"], *new["points"])}.values()
    )
    reference = new["summary"]["reference"]
    summary = {
        kind: summarise(shown, reference)
        for kind in ("steps", "time")
        if (shown := of_kind(rows, kind))
    }
    kept = rectangle(rows)
    lines = [point for point in points if (point["concept"], point["seed"]) in kept]
    times = {"equal_time": old["equal_time"]} if "equal_time" in old else {}
    return (
        times
        | dict(new)
        | {
            "rows": rows,
            "points": points,
            "summary": {"reference": reference} | summary,
            "curves": curves(lines),
            "made": _made(old, new),
        }
    )


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


def _rows(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each cell and kind of equality the new row, and the old one where there is no new."""
    again = {(_cell(row), kind) for row in new for kind in row["equal"]}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in old:
        if kinds := [kind for kind in row["equal"] if (_cell(row), kind) not in again]:
            found[(*_cell(row), row["steps"])] = row | {"equal": kinds}
    for row in new:
        key = (*_cell(row), row["steps"])
        before = found[key]["equal"] if key in found else []
        found[key] = row | {"equal": sorted({*before, *row["equal"]})}
    return list(found.values())


def _cell(row: Content) -> tuple[str, int, str]:
    return row["concept"], row["seed"], row["prior"]


def of_kind(rows: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """The rows of a kind of equality, of the seeds that all its concepts have for every prior."""
    labels = {row["prior"] for row in rows}
    found = [row for row in rows if kind in row["equal"]]
    have: dict[tuple[str, int], set[str]] = {}
    for row in found:
        have.setdefault((row["concept"], row["seed"]), set()).add(row["prior"])
    whole = [row for row in found if have[row["concept"], row["seed"]] == labels]
    kept = rectangle(whole) if whole else set()
    return [row for row in whole if (row["concept"], row["seed"]) in kept]


def rectangle(rows: Sequence[Content]) -> set[tuple[str, int]]:
    """Places (concept, seed) whose seed every concept has, for intervals over seeds within each."""
    places = {(row["concept"], row["seed"]) for row in rows}
    seeds = [{s for c, s in places if c == name} for name in {c for c, _ in places}]
    return {(concept, seed) for concept, seed in places if seed in set.intersection(*seeds)}


def require_same(key: str, old: Any, new: Any) -> None:
    """Refuse to join what differs in a setting.

    Raises:
        UserError: names it and both values.
    """
    if old != new:
        raise UserError(f"{key} is {old!r} in the results there, {new!r} here: no one study")
