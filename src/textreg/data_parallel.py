"""One wave on several ranks: each takes some of a step's samples, all take the mean's update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from textreg.config import Concept, Run
from textreg.errors import UserError
from textreg.randomness import Draws
from textreg.ranks import Ranks


def micro_batches(run: Run, ranks: Ranks) -> list[list[tuple[int, int]]]:
    """The (micro-batch, sample) pairs of a step that this rank takes, in micro-batches of its own.

    All are of one size, none larger than the run's, and every rank has as many: the mean of the
    micro-batches' losses, and then of the ranks', is the mean over the samples.

    Raises:
        UserError: the samples cannot be divided so.
    """
    size, count = run.optimizer.batch_size, run.optimizer.accumulation
    pairs = [(micro, sample) for micro in range(count) for sample in range(size)]
    # With aspect buckets a micro-batch's shape is its first sample's.
    whole = run.images.buckets and size > 1
    if (count if whole else len(pairs)) % ranks.size:
        raise UserError(
            f"{ranks.size} processes cannot divide a step's samples: optimizer.batch_size {size} x "
            f"optimizer.accumulation {count}"
            + (", micro-batches whole as images.buckets is on" if whole else "")
            + f"; make it a multiple of {ranks.size}, start fewer processes, or give at least "
            f"{ranks.size} concepts"
        )
    share = len(pairs) // ranks.size
    own = pairs[ranks.rank * share : (ranks.rank + 1) * share]
    each = math.gcd(size, share)
    return [own[start : start + each] for start in range(0, share, each)]


def step_draws(
    run: Run, concepts: Sequence[Concept], stage: str, step: int, pairs: Sequence[tuple[int, int]]
) -> list[list[Draws]]:
    """The random numbers of these samples of a step, as (micro-batch, sample), of each concept."""
    return [
        [Draws(run.seed, concept.name, stage, step, micro, sample) for micro, sample in pairs]
        for concept in concepts
    ]


@torch.no_grad()
def average(
    ranks: Ranks, parameters: Iterable[nn.Parameter], terms: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Put the mean over ranks into each gradient; returns each term's mean."""
    if ranks.size == 1:
        return dict(terms)
    gradients = [p.grad for p in parameters if p.grad is not None]
    means = ranks.mean([*gradients, *terms.values()])
    for gradient, mean in zip(gradients, means, strict=False):
        gradient.copy_(mean)
    return dict(zip(terms, means[len(gradients) :], strict=True))
