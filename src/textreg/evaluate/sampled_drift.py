"""What class pictures say of drift: KID and CMMD with floor and scale, and diversity.

All arguments are unit feature vectors [n, d]; base and tuned pictures are paired by seed.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from textreg.evaluate.decisions import DIVERSITY_MARGIN, kept, moved_beyond_floor
from textreg.evaluate.distances import (
    CMMD_SCALE,
    cmmd,
    cmmd_kernel,
    kid,
    kid_kernel,
    pairwise_distance,
    unbiased,
    unpaired,
    vendi,
)
from textreg.evaluate.intervals import Measured, measured, resamples

NEEDS = {"kid": 16, "cmmd": 8, "vendi": 8, "diversity": 8}
"""Fewest pictures a side, below which a number would say nothing."""
LEAST_OTHERS = 6
"""Pictures of other nouns for a scale. Of 1000 resamples of six .1 are one picture throughout, and
drawn anew; of five 1.6 are, and the interval would begin to depend on that."""
_VENDI_DRAWS, _LARGE = 200, 128


def sampled_drift(
    base: Tensor, tuned: Tensor, again: Tensor, nouns: Tensor, seed: int
) -> dict[str, Any]:
    """Distances and diversity of class pictures; each only where there are pictures enough.

    Args:
        base: of the base.
        tuned: of the tuned model, the same seeds.
        again: of the base, other seeds.
        nouns: of the base, its pictures of other nouns; any number of them.
        seed: of the resamples.
    """
    return _distances(base, tuned, again, nouns, seed) | _diversity(base, tuned, seed)


def too_few(num_images: int) -> list[str]:
    """A line for each number that so few pictures cannot give."""
    return [
        f"{name} needs {least} pictures a side, there are {num_images}: --num-images {least}"
        for name, least in NEEDS.items()
        if num_images < least
    ]


def _distances(
    base: Tensor, tuned: Tensor, again: Tensor, nouns: Tensor, seed: int
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    count = len(base)
    for name, distance, kernel, times in (
        ("kid", kid, kid_kernel, 1.0),
        ("cmmd", cmmd, cmmd_kernel, CMMD_SCALE),
    ):
        if count < NEEDS[name]:
            continue
        pairs, others = (resamples(count, seed, p, pairs=True) for p in ("class", "class again"))
        value = measured(distance(base, tuned, pairs, pairs), corrected=True)
        floor = measured(distance(base, again, pairs, others), corrected=True)
        # The published CMMD is above 0 for equal models, the more so the fewer the pictures.
        draws = times * unbiased(kernel, base, tuned, pairs, pairs)
        beyond = draws - times * unbiased(kernel, base, again, pairs, others)
        own, excess = (measured(d, corrected=True) for d in (draws, beyond))
        scale = None
        if len(nouns) >= LEAST_OTHERS:
            of_nouns = resamples(len(nouns), seed, "neighbours", pairs=True)
            apart = times * unpaired(kernel, base, nouns, pairs, of_nouns)
            scale = measured(apart, corrected=True)
        found[name] = value.plain() | {
            "floor": floor.plain(),
            "unbiased": own.plain(),
            "scale": None if scale is None else scale.plain(),
            "verdict": moved_beyond_floor(own, excess, scale),
        }
    return found


def _diversity(base: Tensor, tuned: Tensor, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    count = len(base)
    for name, spread in (("vendi", vendi), ("diversity", pairwise_distance)):
        if count < NEEDS[name]:
            continue
        weights = resamples(count, seed, "class", pairs=True)
        if name == "vendi" and min(base.shape) > _LARGE:
            weights = weights[: 1 + _VENDI_DRAWS]
        of_base, of_tuned = spread(base, weights), spread(tuned, weights)
        ratio = measured(of_tuned / of_base, corrected=True)
        loss = Measured(value=ratio.value - 1, low=ratio.low - 1, high=ratio.high - 1)
        found[name] = {
            "value": float(of_tuned[0]),
            "base": float(of_base[0]),
            "ratio": ratio.plain(),
            "verdict": kept(loss, DIVERSITY_MARGIN),
        }
    return found
