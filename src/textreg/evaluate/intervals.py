"""Bootstrap intervals: how far a number may be off because only so many pictures were drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from textreg.randomness import generator

DRAWS = 1000
_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"value": self.value, "interval": [self.low, self.high]}


def resamples(count: int, *key: int | str, draws: int = DRAWS, pairs: bool = False) -> Tensor:
    """Weights of bootstrap resamples: how often each of `count` items is drawn, float64.

    A function of the key alone; whatever is to be compared in pairs uses the same key.

    Args:
        count: items, from 1 up.
        key: of the draws.
        draws: resamples.
        pairs: for means over pairs of different items: a resample that is one item throughout has
            no such pair, and is drawn anew. From 2 items up.

    Returns:
        [1 + draws, count]; the first row is all ones, the sample itself.
    """
    random = generator(*key, "bootstrap", count)
    drawn = torch.randint(count, (draws, count), generator=random)
    while pairs and bool((alone := (drawn == drawn[:, :1]).all(1)).any()):
        drawn[alone] = torch.randint(count, (int(alone.sum()), count), generator=random)
    weights = torch.zeros(draws, count, dtype=torch.float64)
    weights.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    return torch.cat([torch.ones(1, count, dtype=torch.float64), weights])


def measured(values: Tensor, *, corrected: bool = False) -> Measured:
    """The sample's own statistic and its interval, the percentiles of the resamples'.

    Args:
        values: [1 + draws], as from the weights of `resamples`.
        corrected: move the interval back by what resampling adds on average: a statistic of pairs,
            or of eigenvalues, is biased by pictures that are drawn twice; a mean is not.
    """
    own, draws = values[0], values[1:]
    tails = torch.tensor([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], dtype=draws.dtype)
    limits = torch.quantile(draws, tails)
    low, high = (limits - (draws.mean() - own) if corrected else limits).tolist()
    return Measured(value=float(own), low=low, high=high)


def unseen_rate(count: int) -> float:
    """The largest rate of something that `count` draws in a row may well not show.

    1 - .025^(1/n): the end of the exact 95 % interval of a binomial of which 0 in n were seen.
    """
    return 1 - ((1 - _LEVEL) / 2) ** (1 / count)


def measured_share(values: Tensor, weights: Tensor, *, least: float = 0) -> Measured:
    """Mean of values that are whole numbers from `least` to 1, with its interval.

    Where all are equal, so is every resample, which is no certainty: the interval is then the
    exact one of a binomial.

    Args:
        values: [count].
        weights: from `resamples`.
        least: 0 for shares, -1 for their differences.
    """
    found = measured(weighted_mean(values, weights))
    if bool((values != values[0]).any()):
        return found
    unseen = unseen_rate(len(values))
    low, high = max(found.value - unseen, least), min(found.value + unseen, 1.0)
    return Measured(value=found.value, low=low, high=high)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of values [count] in each resample, [1 + draws]."""
    return (weights @ values.double()) / weights.sum(1)
