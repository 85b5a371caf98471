"""Frozen convolutions with their weights in the order that the processor's kernels want.

torch brings a convolution's weights into that order at each call, forward and again backward. Where
a picture has few positions that takes longer than the convolution itself. Here it is done once; the
kernels are the same (oneDNN's), and so is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

FEW = 32 * 32
"""Positions of a picture below which weights are packed. A choice: with more it gains a tenth and
less, and packed weights, for the pass and for its gradient, take twice the memory of plain ones."""


class PackedConvolution:
    """A frozen convolution of stride 1."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, padding: Sequence[int], shape: Sequence[int]
    ):
        """Pack a weight of [out, in, height, width]; `shape`: of what it will be given."""
        self._plain, self._bias, self._padding = weight, bias, list(padding)
        self._batch, _, *self._sides = shape
        self._packed = self._in_order(weight, self._padding)

    @cached_property
    def _turned(self) -> tuple[Tensor, list[int]]:
        """Weight and padding of the convolution that takes the output's gradient to the input's.

        The kernel is turned by half a circle, and in and out have changed places.
        """
        turned = self._plain.flip(2, 3).transpose(0, 1).contiguous()
        padding = [side - 1 - p for side, p in zip(turned.shape[2:], self._padding, strict=True)]
        return self._in_order(turned, padding), padding

    def _in_order(self, weight: Tensor, padding: list[int]) -> Tensor:
        like = (self._batch, weight.shape[1], *self._sides)
        return torch.ops.aten.mkldnn_reorder_conv2d_weight.default(
            weight.detach().to_mkldnn(), padding, [1, 1], [1, 1], 1, like
        )

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x, [batch, in, height, width] in any layout, without a gradient."""
        return _convolved(x, self._packed, self._bias, self._padding)

    def backward(self, gradient: Tensor) -> Tensor:
        """The gradient of x from that of the convolution."""
        weight, padding = self._turned
        return _convolved(gradient, weight, None, padding)

    def with_gradient(self, x: Tensor) -> Tensor:
        """The convolution of x, with a gradient."""
        return _WithGradient.apply(x, self)  # type: ignore[no-any-return]


def _convolved(x: Tensor, packed: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last)
    call = torch.ops.mkldnn._convolution_pointwise.default
    return call(x, packed, bias, padding, [1, 1], [1, 1], 1, "none", [], "")


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, convolution: PackedConvolution) -> Tensor:
        ctx.convolution = convolution
        return convolution.forward(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.convolution.backward(gradients[0]), None


class PackedConvolutions:
    """The convolutions of a model that recordings share."""

    def __init__(self) -> None:
        """None yet."""
        self._packed: dict[tuple[Any, ...], PackedConvolution] = {}

    def in_place_of(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
    ) -> Callable[[Tensor], Tensor] | None:
        """What does the same as torch.conv2d, of x alone.

        Args:
            x: of the shape and type that it will be given.
            weight: and the rest as for torch.conv2d.
            bias: one number an output.
            stride: of the kernel's steps.
            padding: zeros around x.
            dilation: of the kernel.
            groups: of channels.

        Returns:
            None where packing wins nothing, or where torch takes other kernels, which round
            otherwise.
        """
        few = x.shape[2] * x.shape[3] < FEW
        simple = groups == 1 and all(n == 1 for n in (*stride, *dilation))
        simple = simple and all(p < k for p, k in zip(padding, weight.shape[2:], strict=True))
        if not (few and simple) or weight.requires_grad:
            return None
        kernels = torch._C._select_conv_backend(
            x, weight, bias, stride, padding, dilation, False, (0, 0), groups
        )
        if kernels.name != "Mkldnn":
            return None
        which = (weight.data_ptr(), *padding, *x.shape)
        if which not in self._packed:
            self._packed[which] = PackedConvolution(weight, bias, padding, x.shape)
        packed = self._packed[which]
        return packed.with_gradient if torch.is_grad_enabled() else packed.forward
