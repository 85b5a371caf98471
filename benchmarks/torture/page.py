"""Write the figures of benchmarks/results/torture-cpu.json into docs/reliability.md.

python benchmarks/torture/page.py [JSON]
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[2]
BEGIN, END = "<!-- figures of torture-cpu.json -->", "<!-- end of figures -->"


def _kills(part: dict[str, Any]) -> str:
    phases = ", ".join(f"{name} {count}" for name, count in part["phases"].items())
    return f"{part['same']} of {part['kills']} to the same bytes ({phases})"


def _disk(part: dict[str, Any]) -> str:
    rows = part["rows"]
    told = sum(row["one line"] for row in rows if row["exit"])
    struck = sum(bool(row["exit"]) for row in rows)
    same = sum(row["goes on to the same"] for row in rows)
    sized = sum(row["bytes named"] for row in rows if row["exit"])
    return (
        f"{struck} of {len(rows)} limits struck: {told} of {struck} told in one line with the "
        f"path, {sized} with the bytes; {same} of {len(rows)} go on to the same bytes"
    )


def _tests(part: dict[str, Any]) -> str:
    faults = f"{part['faults']} injected faults; " if "faults" in part else ""
    return f"{faults}{part['passed']} of {part['tests']} tests pass"


def _hostile(part: dict[str, Any]) -> str:
    return (
        f"{part['inputs']:,} generated inputs of {part['kinds']} kinds, {part['failing']} failing "
        "(a traceback, a hang of 5 s, a file outside, 3 GiB more than before)"
    )


ROWS: dict[str, tuple[str, Any]] = {
    "kills": ("SIGKILL at random moments, one concept", _kills),
    "four": ("the same, four concepts in one batch", _kills),
    "company": (
        "the same in waves of two, `--batch-concepts 4` on resume (the run keeps its waves)",
        _kills,
    ),
    "fewer": (
        "the same in one wave, `--batch-concepts 2` on resume (taken by waves that have not "
        "begun, equal to rounding: so in float64)",
        _kills,
    ),
    "disk": ("a full disk (limit on file sizes)", _disk),
    "writes": ("a fault at every call of a checkpoint, a file, an export", _tests),
    "quarantine": (
        "NaN in a latent, a weight, a gradient of one of 8, both stages: the other 7 bit-equal",
        _tests,
    ),
    "lock": (
        "two runs, killed holder, stale record, clock jump; a disk that is, or becomes, read-only "
        "or full",
        _tests,
    ),
    "signals": ("SIGTERM or SIGINT in ten phases, and while exporting and drawing", _tests),
    "checkpoints": ("damaged checkpoints, and sound ones that are no state of the run", _tests),
    "hostile": ("hostile inputs", _hostile),
    "twice": (
        "the same command twice",
        lambda part: (
            f"{part['files']} files of weights, {'the same' if part['same'] else 'OTHER'} bytes"
        ),
    ),
}


def table(found: dict[str, Any]) -> str:
    """A row for each part that was measured; one that was not says so."""
    lines = ["| what | figure | seconds | CPU seconds |", "|---|---|---|---|"]
    for name, (what, words) in ROWS.items():
        part = found.get(name)
        figure = "not measured" if part is None else words(part)
        took = ("-", "-") if part is None else (part["seconds"], part["cpu seconds"])
        lines.append(f"| {what} | {figure} | {took[0]} | {took[1]} |")
    measured = [found[name] for name in ROWS if name in found]
    total = [sum(part[unit] for part in measured) for unit in ("seconds", "cpu seconds")]
    return "\n".join(
        [*lines, f"| sum of the parts, of which two ran at a time | - | {total[0]} | {total[1]} |"]
    )


def _made(found: dict[str, Any]) -> dict[str, list[str]]:
    """Which parts were measured where and of which commit."""
    groups: dict[str, list[str]] = {}
    for name in ROWS:
        if name in found:
            made = found[name]["made"]
            note = f" {made['note']}" if "note" in made else ""
            changed = ", with changes" if made["changed_since"] else ""
            how = f"Hardware: {made['hardware']}; commit {made['commit']}{changed}.{note}"
            groups.setdefault(how, []).append(name)
    return groups


def filled(page: str, found: dict[str, Any]) -> str:
    """The page with the table between its two marks."""
    where = "  \n".join(f"{how} ({', '.join(names)})" for how, names in _made(found).items())
    inside = f"{BEGIN}\n\n{where}\n\n{table(found)}\n\n{END}"
    written, count = re.subn(f"{BEGIN}.*{END}", lambda _: inside, page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"reliability.md has no marks {BEGIN} ... {END}")
    return written


if __name__ == "__main__":
    source = Path(sys.argv[1]) if sys.argv[1:] else HOME / "benchmarks/results/torture-cpu.json"
    page = HOME / "docs/reliability.md"
    page.write_text(filled(page.read_text(), json.loads(source.read_text())))
