"""Frozen convolutions as a processor does them soonest.

torch brings a convolution's weights into the order that the kernels want at each call, forward and
again backward. Where a picture has few positions that takes longer than the convolution itself.
Here it is done once; the kernels are oneDNN's in either case. A convolution of one position is a
matrix product, whose weights lie as they should.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

_FEW = 32 * 32
"""Positions of a picture below which weights are packed. A choice: with more it gains a tenth and
less (decision 0080)."""
_NARROW = 16
"""Channels below which they are not: little to gain, and other kernels backward."""
_MOST = 2**28
"""Bytes of packed weights. A choice: small models stay below it, and large ones need the memory."""


class PackedConvolution:
    """A frozen convolution of stride 1, and as many positions after it as before."""

    def __init__(self, weight: Tensor, bias: Tensor | None, shape: Sequence[int]):
        """Pack a weight of [out, in, height, width]; `shape`: of what it will be given."""
        self._plain, self._bias = weight, bias
        self._batch, _, *self._sides = shape
        self._padding = [(side - 1) // 2 for side in weight.shape[2:]]
        self._packed = self._in_order(weight)

    @cached_property
    def _turned(self) -> Tensor:
        """The weight of the convolution that takes the output's gradient to the input's.

        The kernel is turned by half a circle, and in and out have changed places.
        """
        return self._in_order(self._plain.flip(2, 3).transpose(0, 1).contiguous())

    def _in_order(self, weight: Tensor) -> Tensor:
        shape = (self._batch, weight.shape[1], *self._sides)
        return torch.ops.aten.mkldnn_reorder_conv2d_weight.default(
            weight.detach().to_mkldnn(), self._padding, [1, 1], [1, 1], 1, shape
        )

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x, [batch, in, height, width] in any layout."""
        return self._convolved(x, self._packed, self._bias)

    def backward(self, gradient: Tensor) -> Tensor:
        """The gradient of x from that of the convolution."""
        return self._convolved(gradient, self._turned, None)

    def _convolved(self, x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        call = torch.ops.mkldnn._convolution_pointwise.default
        return call(x, packed, bias, self._padding, [1, 1], [1, 1], 1, "none", [], "")


class PointwiseConvolution:
    """A frozen convolution of one position, as the matrix product that it is in channels_last."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        """Of a weight of [out, in, 1, 1], which nothing is copied of."""
        self._weight, self._bias = weight.flatten(1), bias

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x, [batch, in, height, width] in any layout."""
        return self._product(x, self._weight.mT, self._bias)

    def backward(self, gradient: Tensor) -> Tensor:
        """The gradient of x from that of the convolution."""
        return self._product(gradient, self._weight, None)

    def _product(self, x: Tensor, by: Tensor, bias: Tensor | None) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        flat = rows.reshape(-1, rows.shape[3])
        found = flat @ by if bias is None else torch.addmm(bias, flat, by)
        return found.view(*rows.shape[:3], -1).permute(0, 3, 1, 2)


class PackedConvolutions:
    """The convolutions of a model that its recordings share."""

    def __init__(self) -> None:
        """None yet."""
        self._packed: dict[tuple[Any, ...], PackedConvolution] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._packed)

    def in_place_of(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> PackedConvolution | PointwiseConvolution | None:
        """What does the same as torch.conv2d, of x alone.

        Args:
            x: of the shape and type that it will be given, and with a gradient if it will have one.
            weight: and the rest as for torch.conv2d.
            bias: one number an output.
            stride: of the kernel's steps.
            padding: zeros around x.
            dilation: of the kernel.
            groups: of channels.

        Returns:
            None where it wins little or takes too much, and where torch takes other kernels, which
            round otherwise.
        """
        trained = weight.requires_grad or (bias is not None and bias.requires_grad)
        if x.ndim != 4 or trained:
            return None
        stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
        kept = all(2 * p == k - 1 for p, k in zip(padding, weight.shape[2:], strict=True))
        if not kept or groups != 1 or not stride == dilation == (1, 1):
            return None
        if weight.shape[2:] == (1, 1):
            return PointwiseConvolution(weight, bias)
        if x.shape[2] * x.shape[3] >= _FEW or min(weight.shape[:2]) < _NARROW:
            return None
        kernels = torch._C._select_conv_backend(
            x, weight, bias, stride, padding, dilation, False, (0, 0), groups
        )
        if kernels.name != "Mkldnn":
            return None
        # An order may depend on the shape: in another's, a convolution took fifty times as long.
        which = (weight.data_ptr(), weight.shape, bias is None or bias.data_ptr(), x.shape)
        if which not in self._packed:
            if self._bytes + 2 * weight.nbytes > _MOST:
                return None
            self._bytes += 2 * weight.nbytes
            self._packed[which] = PackedConvolution(weight, bias, x.shape)
        return self._packed[which]


def _pair(number: int | Sequence[int]) -> tuple[int, ...]:
    return (number, number) if isinstance(number, int) else tuple(number)
