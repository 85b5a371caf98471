"""The table of a comparison as text, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textreg.evaluate.decisions import UNDECIDED

COLUMNS = {
    "fidelity": "fidelity",
    "editability": "editability",
    "drift class": "class %",
    "drift class_elsewhere": "class elsewhere %",
    "drift neighbour": "neighbours %",
    "drift general": "general %",
    "drift null": "empty %",
}


def table(summary: Mapping[str, Any], kind: str) -> list[list[str]]:
    """Header and a line each prior: mean [interval], and what the paired test decided.

    Args:
        summary: of compare.json.
        kind: "steps" or "time".
    """
    entries = summary[kind]
    names = [name for name in COLUMNS if all(name in entry for entry in entries.values())]
    lines = [["prior", "steps", "s", *(COLUMNS[name] for name in names)]]
    for label, entry in entries.items():
        line = [label, str(entry["steps"]), f"{entry['seconds']['value']:.0f}"]
        lines.append(line + [cell(entry[name], name.startswith("drift")) for name in names])
    return lines


def cell(found: Mapping[str, Any], percent: bool) -> str:
    """One number as the table has it."""
    low, high = found["interval"]
    value, *limits = (_digits(v, percent) for v in (found["value"], low, high))
    verdict = found.get("against", {}).get("verdict", "")
    shown = {"": "", UNDECIDED: " ?"}.get(verdict, f" {verdict}")
    # Of a single cell no interval is known.
    return value + (f" [{limits[0]}, {limits[1]}]" if low < high else "") + shown


def _digits(value: float, percent: bool) -> str:
    if not percent:
        return f"{value:.2f}"
    share = 100 * value
    return "<.001" if 0 < share < 0.001 else f"{share:.2g}" if share < 99.5 else f"{share:.0f}"
