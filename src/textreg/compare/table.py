"""The table of a comparison as text, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textreg.evaluate.decisions import UNDECIDED

COLUMNS = {
    "fidelity": "fidelity",
    "editability": "editability",
    "drift class": "class drift %",
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
    lines = [["prior", "steps", "seconds", *(COLUMNS[name] for name in names)]]
    for label, entry in entries.items():
        line = [label, str(entry["steps"]), f"{entry['seconds']['value']:.0f}"]
        lines.append(line + [cell(entry[name], name.startswith("drift")) for name in names])
    return lines


def cell(found: Mapping[str, Any], percent: bool) -> str:
    """One number as the table has it."""
    values = [found["value"], *found["interval"]]
    texts = [f"{100 * v:.2g}" if percent else f"{v:.3f}" for v in values]
    verdict = found.get("against", {}).get("verdict", "")
    shown = {"": "", UNDECIDED: " ?"}.get(verdict, f" {verdict}")
    return f"{texts[0]} [{texts[1]}, {texts[2]}]{shown}"
