"""The study's answer: one row beside each rival, what it costs, and how many rows do as well."""

from __future__ import annotations

from collections.abc import Sequence

from equal_fidelity import first_at
from marked_page import table
from results import Part
from sections import RIVALS
from wording import NAMES, POOLS, counted, number

from textreg.evaluate.decisions import UNDECIDED

_POOLS = [pool for pool in POOLS if pool != "null"]


def against_each(part: Part, label: str, rivals: Sequence[str]) -> str:
    """Drift of the row and of each rival, where both are as faithful."""
    rows: list[list[str]] = []
    for rival in rivals:
        found = {pool: part.at_equal_fidelity(label, rival, pool) for pool in _POOLS}
        cells = [
            f"{_percent(one['own'])} / {_percent(one['reference'])}"
            + (" ?" if one["verdict"] == UNDECIDED else "")
            for one in found.values()
            if one is not None
        ]
        if (first := found["class"]) is not None:
            rows.append([rival, *cells, f"{first['fidelity']:.2f}"])
    heads = ["against", *(f"{NAMES[f'drift {pool}']}, %" for pool in _POOLS), "at fidelity"]
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
    curve = [(part.mean_of(part.at_step(label, step)).value, step) for step in steps]
    return first_at(curve, wanted) if max(curve)[0] >= wanted else None


def counts(part: Part) -> str:
    """Of a and b, how many of TextReg's rows are decided to drift less or more than each rival."""
    rows: list[list[str]] = []
    for reference in [word for name in RIVALS for word in part.alone(name)]:
        own = [label for label in part.ours() if label != reference]
        for kind in ("fidelity", *part.kinds):
            found = [
                [
                    part.at_equal_fidelity(label, reference, pool)
                    if kind == "fidelity"
                    else part.against(kind, label, reference, f"drift {pool}")
                    for label in own
                ]
                for pool in _POOLS
            ]
            cells = [counted([one for one in each if one is not None]) for each in found]
            if any(cells):
                rows.append([reference, kind, *cells])
    heads = ["against", "at equal", *(NAMES[f"drift {pool}"] for pool in _POOLS)]
    told = f"How many of our {len(part.ours())} rows drift less, or more:"
    return f"{told}\n\n{table(heads, rows)}"
