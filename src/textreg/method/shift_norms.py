"""How far the edit moves keys and values: norms of shifts that are never formed.

    R_m(p) = ||dW_m c(p)^T||_F = s sqrt(tr((B'B)(L L'))),  L = A_m c(p)^T, [r, T]
    dR/dB  = s^2 B (L L') / R
    dR/dA  = s^2 (B'B) L c / R                             both 0 where R = 0 (METHOD 5)

So nothing is as large as [T, o]. The r x r products are in float64: in a sum that cancels, where
the edit has learned to leave a text alone, float32 would lose twice the digits of the plain norm.
One function with its own gradient, as with one concept it is the number of operators that costs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from textreg.method.text_projections import LowRankEdit


class _WeightedNorms(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weights: Tensor, places: Tensor, down: Tensor, *ups: Tensor
    ) -> Tensor:
        concepts, samples, tokens, width = features.shape
        _, projections, rank, _ = down.shape
        rows = features.reshape(concepts, samples * tokens, width)
        low = torch.bmm(down.view(concepts, projections * rank, width), rows.mT)
        low = low.view(concepts, projections, rank, samples, tokens).transpose(2, 3)
        low = low.reshape(-1, rank, tokens)
        wide = low.double()
        inner = torch.bmm(wide, wide.mT).view(concepts, projections, samples, rank, rank)
        # A product of r x r and r x o is several times as fast as one of o x r and r x r.
        turned = [up.flatten(0, 1).mT.contiguous() for up in ups]
        outers = [torch.bmm(up, up.mT) for up in (up.double() for up in turned)]
        outer = torch.cat([x.view(concepts, -1, 1, rank, rank) for x in outers], dim=1)
        outer = outer.index_select(1, places)
        norms = (outer * inner).sum((-2, -1)).clamp_(min=0).sqrt_()
        ctx.save_for_backward(rows, weights, places, low, inner, outer, norms, *turned)
        return (norms.view(concepts, -1) @ weights).to(down.dtype)

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        rows, weights, places, low, inner, outer, norms, *turned = ctx.saved_tensors
        concepts, projections, samples, rank, _ = inner.shape
        # Of a norm that is 0 it is 0.
        share = (grads[0].double() @ weights.mT).view(norms.shape)
        share = (share / norms.masked_fill(norms == 0, torch.inf)).view(*norms.shape, 1, 1)
        of_low = torch.bmm((outer * share).to(low.dtype).view(-1, rank, rank), low)
        of_low = of_low.view(concepts, projections, samples, rank, -1).transpose(2, 3)
        of_down = torch.bmm(of_low.reshape(concepts, projections * rank, -1), rows)
        sums = (inner * share).sum(2).to(low.dtype)
        sums = torch.empty_like(sums).index_copy_(1, places, sums)
        sizes = [len(up) // concepts for up in turned]
        of_ups = [
            torch.bmm(own.reshape(-1, rank, rank), up).mT.unflatten(0, (concepts, -1))
            for own, up in zip(sums.split_with_sizes(sizes, dim=1), turned, strict=True)
        ]
        of_down = of_down.view(concepts, projections, rank, -1)
        return None, None, None, of_down, *of_ups


def weighted_norms(edit: LowRankEdit, features: Tensor, weights: Tensor) -> Tensor:
    """sum_mp w_kmp ||dW_m c(p)^T||_F of each concept.

    Args:
        edit: of N concepts; the sums have gradients to its A and B.
        features: c, [N, S, T, d], constant.
        weights: w of K sums, [M S, K] float64, constant.

    Returns:
        [N, K].
    """
    down = edit.down
    return _WeightedNorms.apply(
        features.to(down.dtype), weights, edit.by_width, down, *edit.up.values()
    )
