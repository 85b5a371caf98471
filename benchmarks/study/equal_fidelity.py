"""Drift at the fidelity that two priors both reach, along their curves over the steps of stage 2.

Both curves begin at the same word, at step 0, and are straight between the steps that were kept.
The fidelity in question is the highest that both reach; a curve's drift there is that of its first
arrival, which is the earliest step at which a user could have stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textreg.compare.summary import Spread

Place = tuple[str, int]
Curve = Sequence[tuple[float, float]]
"""(fidelity, drift) by step, the word's first."""


def curves_of(points: Sequence[Mapping[str, Any]], prior: str, pool: str) -> dict[Place, Curve]:
    """A prior's curve in each cell.

    Args:
        points: of compare.json.
        prior: which of them.
        pool: whose drift.
    """
    found: dict[Place, list[tuple[int, float, float]]] = {}
    for point in points:
        if point["prior"] == prior:
            entry = (point["step"], point["fidelity"], point["drift"][pool])
            found.setdefault((point["concept"], point["seed"]), []).append(entry)
    return {place: [(f, d) for _, f, d in sorted(line)] for place, line in found.items()}


def common_fidelity(a: Curve, b: Curve) -> float:
    """The highest fidelity that both curves reach."""
    return min(max(fidelity for fidelity, _ in a), max(fidelity for fidelity, _ in b))


def first_at(curve: Curve, fidelity: float) -> float:
    """Drift, or whatever else stands second, where a curve first reaches a fidelity.

    Raises:
        ValueError: it never does.
    """
    before: tuple[float, float] | None = None
    for here in curve:
        if here[0] >= fidelity:
            if before is None:
                return here[1]
            share = (fidelity - before[0]) / (here[0] - before[0])
            return before[1] + share * (here[1] - before[1])
        before = here
    raise ValueError(f"no point of the curve has fidelity {fidelity:g}")


def at_equal_fidelity(
    points: Sequence[Mapping[str, Any]], own: str, reference: str, pool: str
) -> dict[str, Any]:
    """Drift of one prior minus another's at the fidelity that both reach, in pairs.

    Returns:
        As `Spread.compare`; "own" and "reference" are the mean drifts, "fidelity" the mean of the
        common one, "above" in how many of the "pairs" it lies above the word's own: in the others
        stage 2 of at least one prior adds nothing to compare.
    """
    ours, theirs = (curves_of(points, prior, pool) for prior in (own, reference))
    if ours.keys() != theirs.keys():
        raise ValueError(f"{own} and {reference} were not measured in the same cells")
    common = {place: common_fidelity(ours[place], theirs[place]) for place in ours}
    spread = Spread(list(common))
    own_drift, other_drift = (
        spread.values({place: first_at(curves[place], common[place]) for place in common})
        for curves in (ours, theirs)
    )
    return spread.compare(own_drift, other_drift) | {
        "own": float(own_drift.mean()),
        "reference": float(other_drift.mean()),
        "fidelity": sum(common.values()) / len(common),
        "above": sum(common[place] > ours[place][0][0] for place in common),
        "pairs": len(common),
    }
