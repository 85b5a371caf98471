"""Packed convolutions against torch's own: values, gradients, and which are packed at all."""

from typing import Any

import pytest
import torch
from torch import Tensor

from textreg.method import packed_convolutions
from textreg.method.packed_convolutions import (
    PackedConvolution,
    PackedConvolutions,
    PointwiseConvolution,
)

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random numbers in the layout of the denoiser's."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))
    return x.to(dtype, memory_format=torch.channels_last if len(shape) == 4 else None)


BF16 = pytest.param(
    torch.bfloat16,
    marks=pytest.mark.skipif(
        not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bf16"
    ),
)


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 1), (5, 3)])
@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_the_convolution_and_its_gradient(
    dtype: torch.dtype, kernel: tuple[int, int], batch: int
) -> None:
    """To rounding here; to the last bit, where torch takes the same kernels, in a recording."""
    weight = drawn(24, 16, *kernel, dtype=dtype) / (16 * kernel[0] * kernel[1]) ** 0.5
    bias, x = drawn(24, dtype=dtype), drawn(batch, 16, 8, 6, dtype=dtype).requires_grad_()
    packed = PackedConvolution(weight, bias, x.shape)
    padding = [(side - 1) // 2 for side in kernel]
    ours, theirs = packed.forward(x.detach()), torch.conv2d(x, weight, bias, padding=padding)
    gradient = drawn(*theirs.shape, dtype=dtype)
    found, (wanted,) = packed.backward(gradient), torch.autograd.grad(theirs, x, gradient)
    assert ours.dtype == found.dtype == dtype
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_product_is_the_convolution_of_one_position(
    dtype: torch.dtype, with_bias: bool, batch: int
) -> None:
    weight, bias = drawn(24, 16, 1, 1, dtype=dtype) / 4, drawn(24, dtype=dtype)
    store, x = PackedConvolutions(), drawn(batch, 16, 8, 6, dtype=dtype).requires_grad_()
    own = store.in_place_of(x, weight, bias if with_bias else None)
    assert isinstance(own, PointwiseConvolution)
    assert len(store) == 0
    theirs = torch.conv2d(x, weight, bias if with_bias else None)
    gradient = drawn(*theirs.shape, dtype=dtype)
    ours = own.forward(x.detach())
    assert ours.stride() == theirs.stride()
    torch.testing.assert_close(ours, theirs)
    (wanted,) = torch.autograd.grad(theirs, x, gradient)
    torch.testing.assert_close(own.backward(gradient), wanted)
    plain = x.detach().contiguous()
    assert torch.equal(own.forward(plain), ours)


def test_what_lies_in_another_layout_is_the_same() -> None:
    packed = PackedConvolution(drawn(24, 16, 3, 3), None, (2, 16, 8, 8))
    x, gradient = drawn(2, 16, 8, 8), drawn(2, 24, 8, 8)
    assert torch.equal(packed.forward(x), packed.forward(x.contiguous()))
    assert torch.equal(packed.backward(gradient), packed.backward(gradient.contiguous()))


def place(store: PackedConvolutions, x: Tensor, **changed: Any) -> Any:
    weight = changed.pop("weight", WEIGHT)
    return store.in_place_of(x, weight, **{"padding": [1, 1], **changed})


WEIGHT = drawn(24, 16, 3, 3)


@pytest.mark.parametrize(
    "changed",
    [
        {"stride": 2},
        {"dilation": [2, 2]},
        {"weight": drawn(24, 8, 3, 3), "groups": 2},
        {"padding": 0},
        {"weight": WEIGHT.clone().requires_grad_()},
        {"weight": drawn(4, 16, 3, 3)},
        {"bias": drawn(24).requires_grad_()},
        {"weight": drawn(24, 16, 1, 1), "padding": 0, "stride": 2},
    ],
)
def test_another_kind_of_convolution_stays(changed: dict[str, Any]) -> None:
    assert place(PackedConvolutions(), drawn(2, 16, 8, 8)) is not None
    assert place(PackedConvolutions(), drawn(2, 16, 8, 8), **changed) is None


def test_what_packing_wins_nothing_for_stays() -> None:
    side = int(packed_convolutions._FEW**0.5)
    assert place(PackedConvolutions(), drawn(2, 16, side, side)) is None
    assert place(PackedConvolutions(), drawn(2, 16, side, side - 1)) is not None


def test_kernels_that_round_otherwise_stay() -> None:
    """Of one small picture in float32 torch takes its own."""
    assert place(PackedConvolutions(), drawn(1, 16, 8, 8)) is None


def test_a_weight_is_packed_once_for_each_shape() -> None:
    """Whether a gradient is wanted or not."""
    store = PackedConvolutions()
    first = place(store, drawn(2, 16, 8, 8))
    assert place(store, drawn(3, 16, 8, 8)) is not first
    assert place(store, drawn(2, 16, 8, 8).requires_grad_()) is first


def test_no_more_is_packed_than_a_share_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there already stays."""
    monkeypatch.setattr(packed_convolutions, "_MOST", 3 * WEIGHT.nbytes)
    store = PackedConvolutions()
    assert place(store, drawn(2, 16, 8, 8)) is not None
    assert place(store, drawn(3, 16, 8, 8)) is None
    assert place(store, drawn(2, 16, 8, 8)) is not None
    assert len(store) == 1
