"""The sign-flip test on paired differences, and what it and the interval decide together."""

from __future__ import annotations

import torch
from torch import Tensor

from textreg.evaluate.decisions import UNDECIDED
from textreg.evaluate.intervals import Measured
from textreg.randomness import generator

LEVEL = 0.05
ROUNDING = 1e-6
"""Of shares and cosines: what lies within it is equal, whatever its sign."""
MANY_CONCEPTS = 6
"""The fewest that decide something by themselves: 2 / 2^6 < LEVEL."""
_EXACT, _DRAWS = 14, 20_000


def sign_flip_p(differences: Tensor) -> float:
    """Two-sided p-value of a mean difference of 0, by flipping the signs of the pairs.

        p = share of all 2^n sign patterns s with |mean(s d)| >= |mean(d)|

    Exact to 14 pairs, beyond that from 20,000 random patterns and the one observed. Whatever the
    numbers are, n pairs give no p below 2 / 2^n: with few pairs nothing is decided.

    Args:
        differences: [n], one a pair.

    Source: Fisher, The Design of Experiments, section 21.
    """
    count = len(differences)
    if count <= _EXACT:
        bits = torch.arange(2**count)[:, None] >> torch.arange(count) & 1
    else:
        random = generator("sign flips", count)
        bits = torch.randint(2, (_DRAWS, count), generator=random)
        bits = torch.cat([torch.zeros(1, count, dtype=bits.dtype), bits])
    values = differences.double()
    means = ((1 - 2 * bits).double() @ values).abs() / count
    observed = values.mean().abs()
    # Sums in another order differ in the last digits.
    return float((means >= observed - 1e-12 * values.abs().max()).double().mean())


def concept_flip_p(differences: Tensor) -> float:
    """`sign_flip_p` of pairs of one concept or a few, and of whole concepts where there are many.

    Seeds of a concept resemble each other: as pairs of their own they would make a p too small for
    what is said of other concepts. Of fewer than six concepts that would never decide anything, so
    there the pairs are taken, and what they say is about these concepts.

    Args:
        differences: [concepts, seeds].
    """
    many = len(differences) >= MANY_CONCEPTS
    return sign_flip_p(differences.mean(1) if many else differences.flatten())


def decide(difference: Measured, p: float, units: int) -> str:
    """More, less, equal or undecided; a word only if the interval and the test agree.

    Args:
        difference: the mean of all.
        p: of the test.
        units: that it flipped; of too few no p could be below the level, so nothing is said.
    """
    if 2 / 2**units >= LEVEL:
        return UNDECIDED
    if max(abs(difference.low), abs(difference.high)) < ROUNDING:
        return "equal"
    if p >= LEVEL or difference.low <= 0 <= difference.high:
        return UNDECIDED
    return "more" if difference.low > 0 else "less"
