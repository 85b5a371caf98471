"""An adapter of Stable Diffusion 1.5's shape, small in all but its names."""

from functools import cache

import torch
from random_base import _SD15

from textreg.adapter import Adapter
from textreg.method.text_projections import TextProjections


@cache
def sd15_names() -> tuple[str, ...]:
    """Names of Stable Diffusion 1.5's 32 projections, in its own order."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        return TextProjections.from_denoiser(UNet2DConditionModel(**_SD15["unet"])).names


def small_adapter(names: tuple[str, ...] | None = None, rank: int = 2) -> Adapter:
    """Random factors [rank, 6] and [5, rank]; every number a multiple of 2^-6, exact in fp16."""
    random = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randint(-64, 65, shape, generator=random) / 64

    return Adapter(
        identifier="<krk1>",
        noun="teddy bear",
        learnable_property="object",
        vector=numbers(6),
        factors={n: (numbers(rank, 6), numbers(5, rank)) for n in names or sd15_names()},
        alpha=float(rank),
        digest="d1",
    )


def same(one: Adapter, other: Adapter) -> bool:
    """Whether two adapters are equal to the bit."""
    plain = ("identifier", "noun", "learnable_property", "alpha", "digest")
    return (
        all(getattr(one, field) == getattr(other, field) for field in plain)
        and one.vector.equal(other.vector)
        and one.factors.keys() == other.factors.keys()
        and all(
            a.equal(b)
            for name, pair in one.factors.items()
            for a, b in zip(pair, other.factors[name], strict=True)
        )
    )
