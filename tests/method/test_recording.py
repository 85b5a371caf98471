"""A recording against the function that was recorded: the same, by fewer calls."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from textreg.method.packed_convolutions import PackedConvolutions
from textreg.method.recording import recording


def calls(
    function: Callable[..., Tensor], *given: Tensor, packed: PackedConvolutions | None = None
) -> list[Any]:
    """What a recording calls."""
    method: Any = recording(function, given, packed)
    return [n.target for n in method.__self__.graph.nodes if n.op == "call_function"]


def operators(
    function: Callable[..., Tensor], *given: Tensor, packed: PackedConvolutions | None = None
) -> list[str]:
    """Their names."""
    return [call.__name__ for call in calls(function, *given, packed=packed)]


def test_what_does_nothing_is_not_done() -> None:
    def function(x: Tensor) -> Tensor:
        x = functional.dropout(x.sin().to(x.dtype), 0.5, training=False) / 1.0
        return (x.contiguous().double() / 2).to(torch.float32)

    assert operators(function, torch.randn(3)) == ["sin", "double", "div", "to"]


def test_what_changes_something_is_done() -> None:
    """Dropout in training; a division by 1 that makes fractions of whole numbers."""

    def function(x: Tensor) -> Tensor:
        return functional.dropout(x / 1.0, 0.5, training=True)

    assert operators(function, torch.arange(3)) == ["div", "dropout"]


def test_norms_are_called_without_their_wrappers() -> None:
    (call,) = calls(torch.nn.GroupNorm(2, 4), torch.randn(1, 4, 3))
    assert call is torch.group_norm


def test_what_is_asked_of_a_tensor_is_no_operator() -> None:
    def function(x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        return x.view(x.shape[1], x.size(0)) if x.is_contiguous() else x

    assert operators(function, torch.randn(2, 3)) == ["view"]


@pytest.mark.parametrize(
    ("function", "asked"),
    [
        (lambda x: x * x.max().item(), "item"),
        (lambda x: x * float(x.max()), "__float__"),
        (lambda x: x if torch.equal(x, x) else -x, "equal"),
        (lambda x: x[: int(x.max())], "__int__"),
    ],
)
def test_a_function_that_asks_for_values_is_not_recorded(
    function: Callable[..., Tensor], asked: str
) -> None:
    with pytest.raises(RuntimeError, match=f"asks a tensor for {asked}"):
        recording(function, [torch.ones(2)])


def set_first(x: Tensor) -> Tensor:
    x[0] = 1
    return x


@pytest.mark.parametrize(
    ("function", "by"),
    [
        (lambda x: (x / 1.0).relu_(), "relu_"),
        (lambda x: functional.relu(x, inplace=True), "relu"),
        (lambda x: torch.add(x, 1, out=x), "add"),
        (lambda x: x.__iadd__(1), "add_"),
        (lambda x: x.__iand__(x), "__iand__"),
        (set_first, "__setitem__"),
    ],
)
def test_a_function_that_changes_tensors_is_not_recorded(
    function: Callable[..., Tensor], by: str
) -> None:
    x = torch.tensor([-1.0, 1])
    with pytest.raises(RuntimeError, match=f"changes a tensor in place, by {by}"):
        recording(function, [x])
    assert x.tolist() == [-1, 1]


def test_what_is_refused_leaves_gradients_on() -> None:
    def function(x: Tensor) -> Tensor:
        with torch.no_grad():
            return x - x.mean()

    with pytest.raises(RuntimeError):
        recording(function, [torch.ones(2, requires_grad=True)])
    assert torch.is_grad_enabled()


WEIGHT = torch.randn(16, 16, 3, 3)
SHIFT = torch.randn(2, 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: torch.cat([*x.chunk(2, dim=1), y[:, 1:]], dim=1) + SHIFT,
        lambda x, y: x.mT @ y.unsqueeze(0)[0] + torch.arange(4, dtype=x.dtype),
        lambda x, y: torch.stack(x.unbind(1)[::-1], dim=-1).mT.reshape(y.shape) * y**2,
        lambda x, y: functional.layer_norm(x, (4,), eps=1e-3) + functional.silu(y),
        lambda x, y: x,
    ],
)
def test_other_numbers_in_the_same_shapes(function: Callable[..., Tensor]) -> None:
    """Lists, slices, properties, constants, what comes in parts or is changed in place."""
    first, second = torch.randn(2, 2, 2, 4).unbind()
    replay = recording(function, first.unbind())
    assert torch.equal(replay(*second), function(*second))


def test_a_replay_has_the_gradient() -> None:
    x, y = torch.randn(2, 2, 4, requires_grad=True).unbind()
    replay = recording(lambda x, y: (x.sin() * y).sum() * 2, [x, y])
    found, wanted = torch.autograd.grad(replay(x, y), [x, y]), (2 * x.cos() * y, 2 * x.sin())
    torch.testing.assert_close(found, wanted)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_a_convolution_is_packed_and_reads_any_layout() -> None:
    def function(x: Tensor) -> Tensor:
        """As diffusers' transformers, which leave channels_last."""
        return torch.conv2d(x.permute(0, 3, 1, 2).contiguous(), WEIGHT, padding=1).sin()

    x = torch.randn(2, 4, 4, 16)
    store = PackedConvolutions()
    assert operators(function, x, packed=store) == ["permute", "forward", "sin"]
    x.requires_grad_()
    assert operators(function, x, packed=store) == ["permute", "with_gradient", "sin"]
    assert operators(function, x) == ["permute", "contiguous", "conv2d", "sin"]


def test_a_convolution_by_what_is_given_or_computed_stays() -> None:
    def function(x: Tensor, weight: Tensor) -> Tensor:
        return torch.conv2d(torch.conv2d(x, weight, padding=1), weight * 2, padding=1)

    x, weight = torch.randn(2, 16, 4, 4), WEIGHT.clone()
    packed = PackedConvolutions()
    assert operators(function, x, weight, packed=packed) == ["conv2d", "mul", "conv2d"]
