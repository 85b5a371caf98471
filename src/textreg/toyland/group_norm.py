"""Group normalisation with passes that are quick on a CPU in channels-last layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        n, c = x.shape[:2]
        area = x.shape[2:].numel()
        # The kernel for channels-last layout is many times slower than two changes of layout.
        flat = x.contiguous()
        out, mean, inverse = torch.native_group_norm(flat, weight, bias, n, c, area, groups, eps)
        if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
            out = out.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.size = c // groups * area
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return dx = dy k + x a + b, whose factors are sums over a group; see the comments."""
        x, weight, mean, inverse = ctx.saved_tensors
        dy = gradients[0]
        (n, c), groups = x.shape[:2], mean.shape[1]
        space = tuple(range(2, x.ndim))
        sum_dy = dy.sum(space, dtype=torch.float32)
        sum_dyx = (dy * x).sum(space, dtype=torch.float32)
        each = c // groups
        mean_c, inverse_c = (t.float().repeat_interleave(each, 1) for t in (mean, inverse))

        def over_group(value: Tensor) -> Tensor:
            total = (value * weight).view(n, groups, each).sum(2)
            return total.repeat_interleave(each, 1) / ctx.size

        first = over_group(sum_dy)  # mean of w dy
        second = inverse_c * (over_group(sum_dyx) - mean_c * first)  # mean of w dy x_hat
        slope = -(inverse_c**2) * second
        offset = -inverse_c * first - slope * mean_c
        shape = (n, c, *(1,) * len(space))
        dx = torch.addcmul(offset.to(x.dtype).view(shape), x, slope.to(x.dtype).view(shape))
        dx = torch.addcmul(dx, dy, (inverse_c * weight).to(x.dtype).view(shape))
        d_weight = ((sum_dyx - mean_c * sum_dy) * inverse_c).sum(0)
        return dx, d_weight.to(weight.dtype), sum_dy.sum(0).to(weight.dtype), None, None


class QuickGroupNorm(nn.GroupNorm):
    """An nn.GroupNorm that keeps the input's precision; same parameters, same result."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [n, channels, ...]."""
        return _Normalise.apply(input, self.weight, self.bias, self.num_groups, self.eps)  # type: ignore[return-value]


def use_quick_group_norm(model: nn.Module) -> None:
    """Let every nn.GroupNorm of the model run as QuickGroupNorm, for training."""
    for module in model.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = QuickGroupNorm  # type: ignore[assignment]


def use_plain_group_norm(model: nn.Module) -> None:
    """Undo use_quick_group_norm."""
    for module in model.modules():
        if type(module) is QuickGroupNorm:
            module.__class__ = nn.GroupNorm  # type: ignore[assignment]


def main() -> None:
    """Print how long both take, forward and backward, on shapes of the denoiser (one thread)."""
    import time

    torch.set_num_threads(1)
    for channels, side in ((64, 16), (128, 8), (176, 4)):
        x = torch.randn(48, channels, side, side).bfloat16()
        x = x.to(memory_format=torch.channels_last).requires_grad_()
        for kind in (nn.GroupNorm, QuickGroupNorm):
            norm = kind(16, channels)
            seconds = []
            for _ in range(8):
                start = time.perf_counter()
                norm(x).sum().backward()
                seconds.append(time.perf_counter() - start)
            name = f"{kind.__name__} [48, {channels}, {side}, {side}]"
            print(f"{name}: {min(seconds) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
