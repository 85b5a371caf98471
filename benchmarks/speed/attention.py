"""Plain products against the fused kernel in the denoiser's attention, forward and backward.

    python benchmarks/speed/attention.py

Prints milliseconds by number of picture tokens, for attention to the picture and to text. It is
where `_FUSED_FROM` in textreg/method/denoiser.py comes from.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k' / sqrt(width)) v as two products."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return scores.softmax(-1) @ value


def milliseconds(
    attend: Callable[..., Tensor], queries: int, keys: int, dtype: torch.dtype
) -> float:
    """Fastest of five rounds of a forward and backward pass, batch 4, 4 heads of 32."""
    query = torch.randn(4, 4, queries, 32, dtype=dtype, requires_grad=True)
    key, value = (torch.randn(4, 4, keys, 32, dtype=dtype, requires_grad=True) for _ in range(2))
    rounds: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(5):
            attend(query, key, value).sum().backward()
        rounds.append((time.perf_counter() - start) / 5 * 1e3)
    return min(rounds)


if __name__ == "__main__":
    fused = nn.functional.scaled_dot_product_attention
    for dtype in (torch.float32, torch.bfloat16):
        print(f"{dtype}; picture tokens, keys: plain ms, fused ms")
        for side in (4, 8, 16, 32, 48, 64):
            for keys in (side * side, 77):
                ours, theirs = (milliseconds(f, side * side, keys, dtype) for f in (plain, fused))
                print(f"{side * side:5} {keys:5}: {ours:8.2f} {theirs:8.2f}")
