"""The study's answer in two tables: one row of TextReg's beside each rival, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from marked_page import table
from results import Part
from wording import NAMES, POOLS, number

from textreg.evaluate.decisions import UNDECIDED


def against_each(part: Part, label: str, rivals: Sequence[str]) -> str:
    """Drift of the row and of each rival, where both are as faithful."""
    pools = [pool for pool in POOLS if pool != "null"]
    rows: list[list[str]] = []
    for rival in rivals:
        found = {pool: part.at_equal_fidelity(label, rival, pool) for pool in pools}
        cells = [
            f"{_percent(one['own'])} / {_percent(one['reference'])}"
            + (" ?" if one["verdict"] == UNDECIDED else "")
            for one in found.values()
            if one is not None
        ]
        if (first := found["class"]) is not None:
            rows.append([rival, *cells, f"{first['fidelity']:.2f}"])
    heads = ["against", *(f"{NAMES[f'drift {pool}']}, %" for pool in pools), "at fidelity"]
    told = f"Drift of *{label}* / of the other, at equal fidelity (?: undecided):"
    return f"{told}\n\n{table(heads, rows)}"


def _percent(value: float) -> str:
    """Drift as a glance needs it; what rounding leaves is 0."""
    return "0" if abs(value) < 1e-8 else f"{100 * value:.2g}" if value < 1 else f"{100 * value:.0f}"


def price(part: Part, label: str, others: Sequence[str]) -> str:
    """What the same number of steps gives each, and what a step takes.

    The last column is where the mean curve, straight between its points, first is as faithful as
    the row at its end.
    """
    seconds = next(iter(part.content.get("equal_time", {}).values()), None)
    wanted = part.mean_of(part.at_step(label, -1)).value
    whole = part.mean_of(part.gain(part.reference)).value
    rows: list[list[str]] = []
    for one in [label, *others]:
        cells = [f"{part.mean('steps', one, 'fidelity').value:.2f}"]
        cells.append(f"{part.mean_of(part.gain(one)).value / whole:.0%}")
        if part.has("editability"):
            cells.append(f"{part.mean('steps', one, 'editability').value:.2f}")
        if seconds is not None:
            by = seconds[one]["seconds_per_step"] / seconds[part.reference]["seconds_per_step"]
            cells.append(f"{by:.2f}")
        step = _first_at(part, one, wanted)
        rows.append([one, *cells, "never" if step is None else f"step {step:.0f}"])
    heads = ["at equal steps", "fidelity", f"share of what {part.reference} adds to the word"]
    heads += ["edits"] if part.has("editability") else []
    heads += [f"time of a step, by {part.reference}'s"] if seconds is not None else []
    shown = table([*heads, f"fidelity {number(wanted, False)} at"], rows)
    word = part.mean_of(part.at_step(part.reference, 0)).value
    return f"The learned word alone has fidelity {word:.2f}.\n\n{shown}"


def _first_at(part: Part, label: str, wanted: float) -> float | None:
    steps = sorted({p["step"] for p in part.content["points"] if p["prior"] == label})
    means = [part.mean_of(part.at_step(label, step)).value for step in steps]
    before, at_before = 0, means[0]
    for step, value in zip(steps, means, strict=True):
        if value >= wanted:
            rise = value - at_before
            return step if rise <= 0 else before + (step - before) * (wanted - at_before) / rise
        before, at_before = step, value
    return None
