"""The denoiser's forward pass by torch.compile, checked against the eager one at each shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from textreg.cuda_graphs import alike
from textreg.errors import UserError
from textreg.method.denoiser import Denoiser
from textreg.method.recorded_passes import values_and_gradients

Forward = Callable[[Tensor, Tensor, list[Tensor], Tensor | None], Tensor]

_SHAPES = 64
"""Batch shapes that are compiled: of aspect buckets, of batches that concepts left. A choice."""


def compiled_denoiser(plain: Denoiser) -> Forward:
    """torch.compile of the whole forward pass, anew for each shape, and checked at each."""
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException

    config.recompile_limit = max(config.recompile_limit, _SHAPES)
    # Shapes as they are: what kernels a shape gets must not depend on the shapes before it.
    compiled: Any = torch.compile(plain.eager, fullgraph=True, dynamic=False)
    checked: set[Any] = set()

    def forward(x_t: Tensor, t: Tensor, keys_values: list[Tensor], pooled: Tensor | None) -> Tensor:
        shape = (x_t.shape, pooled is None)
        try:
            if shape not in checked:
                _require_as_eager(compiled, plain, x_t, t, keys_values, pooled)
                checked.add(shape)
            return compiled(x_t, t, keys_values, pooled)
        except TorchDynamoException as error:
            # The first line may be no more than who raised what the second says.
            why = " ".join(str(error).split("\n", 2)[:2]).strip()
            raise UserError(
                f"--speed compile: torch could not compile this denoiser ({why}); use --speed eager"
            ) from None

    return forward


def _require_as_eager(
    compiled: Forward,
    plain: Denoiser,
    x_t: Tensor,
    t: Tensor,
    keys_values: list[Tensor],
    pooled: Tensor | None,
) -> None:
    """Refuse what torch compiled to something else; docs/log.md has a case.

    Raises:
        UserError: its prediction or its gradients are not the eager denoiser's, to rounding.
    """

    def by(way: Forward) -> list[list[Tensor]]:
        return values_and_gradients(lambda *heard: way(x_t, t, list(heard), pooled), keys_values)

    found, wanted = by(compiled), by(plain.eager)
    if not alike(found, wanted):
        raise UserError(
            "--speed compile: what torch compiled of this denoiser computes something else, in "
            "its prediction or its gradients; use --speed auto"
        )
