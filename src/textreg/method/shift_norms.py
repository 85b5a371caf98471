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
        ctx: Any, features: Tensor, weights: Tensor, edit: LowRankEdit, down: Tensor, up: Tensor
    ) -> Tensor:
        concepts, samples, tokens, width = features.shape
        _, projections, rank, _ = down.shape
        rows = features.reshape(concepts, samples * tokens, width)
        low = torch.bmm(down.view(concepts, projections * rank, width), rows.mT)
        low = low.view(concepts, projections, rank, samples, tokens).transpose(2, 3)
        low = low.reshape(-1, rank, tokens)
        wide = low.double()
        inner = torch.bmm(wide, wide.mT).view(concepts, projections, samples, rank, rank)
        outer = edit.squares(up, torch.float64)[:, :, None]
        norms = (outer * inner).sum((-2, -1)).clamp_(min=0).sqrt_()
        ctx.save_for_backward(rows, weights, low, inner, outer, norms, up)
        ctx.edit = edit
        return (norms.view(concepts, -1) @ weights).to(down.dtype)

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        rows, weights, low, inner, outer, norms, up = ctx.saved_tensors
        concepts, projections, samples, rank, _ = inner.shape
        # Of a norm that is 0 it is 0.
        share = (grads[0].double() @ weights.mT).view(norms.shape)
        share = (share / norms.masked_fill(norms == 0, torch.inf)).view(*norms.shape, 1, 1)
        of_low = torch.bmm((outer * share).to(low.dtype).view(-1, rank, rank), low)
        of_low = of_low.view(concepts, projections, samples, rank, -1).transpose(2, 3)
        of_down = torch.bmm(of_low.reshape(concepts, projections * rank, -1), rows)
        sums, ups = (inner * share).sum(2).to(low.dtype), ctx.edit.by_width(up)
        parts = sums.split([own.shape[1] for own in ups], dim=1)
        of_up = [(part @ own).flatten(1) for part, own in zip(parts, ups, strict=True)]
        return None, None, None, of_down.view(*outer.shape[:2], rank, -1), torch.cat(of_up, dim=1)


def weighted_norms(edit: LowRankEdit, features: Tensor, weights: Tensor) -> Tensor:
    """sum_mp w_kmp ||dW_m c(p)^T||_F of each concept.

    Args:
        edit: of N concepts; the sums have gradients to its A and B.
        features: c, [N, S, T, d], constant.
        weights: w of K sums, [M S, K] float64, constant; projections as the edit has them.

    Returns:
        [N, K].
    """
    given = features.to(edit.down.dtype)
    return _WeightedNorms.apply(given, weights, edit, edit.down, edit.up)
