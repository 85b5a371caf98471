"""A recording against the function that was recorded: the same, by fewer calls."""

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from textreg.method.packed_convolutions import PackedConvolutions
from textreg.method.recording import recording
from textreg.method.replay import ReplayWithGradient


def operators(
    function: Callable[..., Tensor], *given: Tensor, packed: PackedConvolutions | None = None
) -> list[list[str]]:
    """Names of what a recording calls, forward, and back if it has gradients."""
    replay = recording(function, given, packed)
    parts = [replay.forward]
    if isinstance(replay, ReplayWithGradient):
        parts.append(replay.backward)
    return [
        [getattr(n.target, "__name__", "") for n in part.graph.nodes if n.op == "call_function"]
        for part in parts
    ]


def test_what_does_nothing_is_not_done() -> None:
    def function(x: Tensor) -> Tensor:
        x = functional.dropout(x.sin().to(x.dtype), 0.5, training=False) / 1.0
        return x.contiguous().view(x.shape).expand(3, -1).exp()

    x = torch.randn(3, 1)
    assert operators(function, x) == [["sin", "exp"]]
    forward, backward = operators(function, x.requires_grad_())
    assert forward == ["sin", "exp"]
    assert backward == ["mul", "cos", "mul"]


def test_what_changes_something_is_done() -> None:
    """A division by 1 that makes fractions of whole numbers; one by more."""
    assert operators(lambda x: x / 1.0, torch.arange(3)) == [["div"]]
    assert operators(lambda x: x / 2, torch.ones(3)) == [["div"]]
    assert operators(lambda x: x.expand(3, -1), torch.ones(1, 2)) == [["expand"]]


def test_what_is_the_same_each_time_is_computed_once() -> None:
    """A weight turned, and what is made of nothing, neither of which a gradient is wanted of."""

    def function(x: Tensor) -> Tensor:
        return functional.linear(x, SQUARE) * torch.arange(3).sin().exp()

    assert operators(function, torch.randn(2, 3)) == [["mm", "mul"]]
    x = torch.randn(2, 3, requires_grad=True)
    assert operators(function, x) == [["mm", "mul"], ["mul", "mm"]]


def test_what_the_way_back_does_not_read_is_not_kept() -> None:
    x = torch.randn(5, requires_grad=True)
    replay = recording(lambda x: (2 * x).sin().exp() + 1, [x])
    value, saved = replay.forward.forward(x)
    assert len(saved) == 2
    torch.testing.assert_close(value, (2 * x).sin().exp() + 1)
    assert isinstance(replay, ReplayWithGradient)
    (found,) = replay.backward.forward(saved, torch.ones(5))
    assert saved == []
    torch.testing.assert_close(found, 2 * (2 * x).cos() * (2 * x).sin().exp())


def test_what_is_asked_of_a_tensor_is_no_operator() -> None:
    def function(x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        return x.view(x.shape[1], x.size(0)) if x.is_contiguous() else x

    assert operators(function, torch.randn(2, 3)) == [["view"]]


@pytest.mark.parametrize(
    ("function", "asked"),
    [
        (lambda x: x * x.max().item(), "_local_scalar_dense"),
        (lambda x: x * float(x.max()), "_local_scalar_dense"),
        (lambda x: x if torch.equal(x, x) else -x, "equal"),
        (lambda x: x[: int(x.max())], "_local_scalar_dense"),
        (lambda x: x * len(x.nonzero()), "nonzero"),
        (lambda x: x[x > 0], "index"),
    ],
)
def test_a_function_that_asks_for_values_is_not_recorded(
    function: Callable[..., Tensor], asked: str
) -> None:
    with pytest.raises(RuntimeError, match=f"asks for a value of a tensor, by {asked}"):
        recording(function, [torch.ones(2)])


def set_first(x: Tensor) -> Tensor:
    x[0] = 1
    return x


@pytest.mark.parametrize(
    ("function", "by"),
    [
        (lambda x: (x / 1.0).relu_(), "relu_"),
        (lambda x: functional.relu(x, inplace=True), "relu_"),
        (lambda x: torch.add(x, 1, out=x), "add"),
        (lambda x: x.__iadd__(1), "add_"),
        (lambda x: x.mul_(x), "mul_"),
        (set_first, "copy_"),
    ],
)
def test_a_function_that_changes_tensors_is_not_recorded(
    function: Callable[..., Tensor], by: str
) -> None:
    x = torch.tensor([-1.0, 1])
    with pytest.raises(RuntimeError, match=f"changes a tensor in place, by {by}"):
        recording(function, [x])
    assert x.tolist() == [-1, 1]


def test_a_function_of_a_trained_tensor_that_is_not_given_is_not_recorded() -> None:
    weight = torch.randn(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="reads a tensor that is trained and not given"):
        recording(lambda x: x * weight, [torch.ones(2)])
    with torch.no_grad():
        assert torch.equal(recording(lambda x: x * weight, [torch.ones(2)])(torch.ones(2)), weight)


WEIGHT = torch.randn(16, 16, 3, 3)
SHIFT = torch.randn(2, 1)
SQUARE = torch.randn(3, 3)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: torch.cat([*x.chunk(2, dim=1), y[:, 1:]], dim=1) + SHIFT,
        lambda x, y: x.mT @ y.unsqueeze(0)[0] + torch.arange(4, dtype=x.dtype),
        lambda x, y: torch.stack(x.unbind(1)[::-1], dim=-1).mT.reshape(y.shape) * y**2,
        lambda x, y: functional.layer_norm(x, (4,), eps=1e-3) + functional.silu(y),
        lambda x, y: x[torch.tensor([1, 0])] + y,
        lambda x, y: x,
    ],
)
def test_other_numbers_in_the_same_shapes(function: Callable[..., Tensor]) -> None:
    """Lists, slices, properties, constants, what comes in parts."""
    first, second = torch.randn(2, 2, 2, 4).unbind()
    replay = recording(function, first.unbind())
    assert torch.equal(replay(*second), function(*second))


def test_a_replay_has_the_gradient() -> None:
    x, y = torch.randn(2, 2, 4, requires_grad=True).unbind()
    replay = recording(lambda x, y: (x.sin() * y).sum() * 2, [x, y])
    found, wanted = torch.autograd.grad(replay(x, y), [x, y]), (2 * x.cos() * y, 2 * x.sin())
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_a_tensor_given_twice_may_be_two_the_next_time(dtype: torch.dtype) -> None:
    a, b = torch.arange(6, dtype=dtype).view(2, 3)
    assert torch.equal(recording(lambda x, y: 2 * x - y, [a, a])(a, b), 2 * a - b)
    assert torch.equal(recording(lambda x: x + a, [a])(b), a + b)


@pytest.mark.parametrize("size", [4, 64, 1024])
def test_memory_that_is_used_again_is_another_tensor(size: int) -> None:
    """Numbers from Python are laid where an activation was, which no operator sees."""
    numbers = [float(n) for n in range(size)]

    def function(x: Tensor) -> Tensor:
        y = x.sin()
        z = y.sum()
        del y
        return z + torch.tensor(numbers)

    x = torch.randn(size)
    for _ in range(10):
        assert torch.equal(recording(function, [torch.randn(size)])(x), function(x))


def test_what_is_saved_is_freed_without_a_way_back() -> None:
    """Where the gradient reads the value itself."""
    x = torch.randn(4, requires_grad=True)
    replay = recording(lambda x: x.exp(), [x])
    value = replay(x)
    kept = weakref.ref(value)
    gc.disable()
    try:
        del value
        assert kept() is None
    finally:
        gc.enable()


def test_gradients_that_meet_are_added() -> None:
    """By autograd in place, where nobody else has them."""

    def function(x: Tensor, y: Tensor) -> Tensor:
        z = x * y
        return z.sin() + z.cos() + torch.cat([z, z.exp()]).sum(0) * x + x

    given = torch.randn(2, 4, 4, requires_grad=True).unbind()
    replay, gradient = recording(function, given), torch.randn(4, 4)
    found = torch.autograd.grad(replay(*given), given, gradient)
    wanted = torch.autograd.grad(function(*given), given, gradient)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_gradient_in_another_layout_is_the_same() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    replay = recording(lambda x: x.sin().view(-1).exp().view(2, 3), [x])
    for gradient in (torch.ones(()).expand(2, 3), torch.arange(6.0).view(3, 2).T):
        (found,) = torch.autograd.grad(replay(x), x, gradient)
        torch.testing.assert_close(found, gradient * x.cos() * x.sin().exp())


def test_gradients_are_of_what_required_them() -> None:
    x, y = torch.randn(4), torch.randn(4, requires_grad=True)
    replay = recording(lambda x, y: x * y, [x, y])
    value = replay(x, y)
    assert torch.equal(torch.autograd.grad(value, y, torch.ones(4))[0], x)
    with pytest.raises(RuntimeError, match="goes back once"):
        torch.autograd.grad(value, y, torch.ones(4))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_a_convolution_is_packed_and_reads_any_layout() -> None:
    def function(x: Tensor) -> Tensor:
        """As diffusers' transformers, which leave channels_last."""
        return torch.conv2d(x.permute(0, 3, 1, 2).contiguous(), WEIGHT, padding=1).sin()

    x = torch.randn(2, 4, 4, 16)
    store = PackedConvolutions()
    assert operators(function, x, packed=store) == [["permute", "forward", "sin"]]
    x.requires_grad_()
    forward, backward = operators(function, x, packed=store)
    assert forward == ["permute", "forward", "sin"]
    assert backward == ["cos", "mul", "backward", "permute"]
    assert len(store) == 1
    forward, backward = operators(function, x)
    assert forward == ["permute", "clone", "convolution", "sin"]
    assert backward[2] == "convolution_backward.default"


def test_a_convolution_by_what_is_given_or_computed_stays() -> None:
    def function(x: Tensor, weight: Tensor) -> Tensor:
        return torch.conv2d(torch.conv2d(x, weight, padding=1), weight * 2, padding=1)

    x, weight = torch.randn(2, 16, 4, 4), WEIGHT.clone()
    packed = PackedConvolutions()
    (forward,) = operators(function, x, weight, packed=packed)
    assert forward == ["convolution", "mul", "convolution"]
    assert len(packed) == 0
