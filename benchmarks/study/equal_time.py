"""Equal time in every seed, read off the curves: the rate of stage 2 is constant.

So the state after 197 of 300 steps is what a run of 197 steps ends with, and a curve, straight
between its points, says what a prior has when its time is up. What was trained for equal time
stands beside it, to see how far the straight lines are off.
"""

from __future__ import annotations

from collections.abc import Sequence

from marked_page import table
from results import Part
from wording import NAMES, POOLS, difference, number

_METRICS = ("fidelity", *(f"drift {pool}" for pool in POOLS if pool != "null"))


def at_equal_time(part: Part, own: Sequence[str], rivals: Sequence[str]) -> str:
    """Each row minus each rival, both as long as the reference's steps take."""
    (found,) = part.content["equal_time"].values()
    steps = {label: one["steps"] for label, one in found.items()}
    blocks: list[str] = []
    for rival in rivals:
        rows: list[list[str]] = []
        for label in own:
            cells = [label]
            for metric in _METRICS:
                pair = [part.at_step(one, steps[one], metric) for one in (label, rival)]
                spread = part.spread_of(pair[0])
                one = spread.compare(*(spread.values(values) for values in pair))
                cells.append(difference(one, metric != "fidelity"))
            rows.append(cells)
        heads = ["", *(NAMES[m] + ("" if m == "fidelity" else ", %") for m in _METRICS)]
        blocks.append(f"Minus *{rival}*, at step {steps[rival]}:\n\n{table(heads, rows)}")
    return "\n\n".join([*blocks, _off(part, steps)] if "time" in part.kinds else blocks)


def _off(part: Part, steps: dict[str, int]) -> str:
    """How far the curves are from what was trained for so many steps."""
    whole = max(steps.values())
    rows: list[list[str]] = []
    for label in [label for label, count in steps.items() if count < whole]:
        cells = [label]
        for metric in _METRICS:
            trained = part.values("time", label, metric)
            read = part.at_step(label, steps[label], metric)
            means = [sum(v[p] for p in trained) / len(trained) for v in (read, trained)]
            cells.append(" / ".join(number(mean, metric != "fidelity") for mean in means))
        rows.append(cells)
    heads = ["read off / trained", *(NAMES[m] for m in _METRICS)]
    return f"In the cells that were trained for so many steps:\n\n{table(heads, rows)}"
