"""Stateless randomness: every draw is a function of its key, never of what was drawn before.

So resume is exact, and a concept's result does not depend on who shares its batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator that depends on the key alone, for example (seed, concept, stage, step)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


class Draws:
    """The random numbers of one sample of one step; each purpose has its own stream."""

    def __init__(self, *key: int | str):
        self._key = key

    def within(self, purpose: str) -> Draws:
        """The random numbers of a part of this sample, independent of all others."""
        return Draws(*self._key, purpose)

    def index(self, purpose: str, count: int) -> int:
        """An integer from 0 to count - 1, all equally likely."""
        return int(torch.randint(count, (1,), generator=generator(*self._key, purpose)).item())

    def uniform(self, purpose: str) -> float:
        """A number from 0 to 1."""
        return float(torch.rand(1, generator=generator(*self._key, purpose), dtype=torch.float64))

    def normal(self, purpose: str, shape: tuple[int, ...]) -> torch.Tensor:
        """Standard normal numbers of this shape, float32."""
        return torch.randn(shape, generator=generator(*self._key, purpose))


def drawn(
    pools: Sequence[torch.Tensor], draws: Sequence[Sequence[Draws]], purpose: str
) -> torch.Tensor:
    """A random row of concept n's pool for each of its samples, [concepts, samples, ...]."""
    pairs = zip(pools, draws, strict=True)
    rows = [pool[d.index(purpose, len(pool))] for pool, samples in pairs for d in samples]
    return torch.stack(rows).unflatten(0, (len(draws), -1))
