"""Which passes are recorded, and that a replay is the pass, to the last bit."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from graph_stand_in import heard
from textreg.backbone import Backbone
from textreg.method import recorded_passes
from textreg.method.denoiser import Denoiser
from textreg.method.packed_convolutions import PackedConvolution, PointwiseConvolution
from textreg.method.recorded_passes import RecordedPasses
from textreg.sampling import PictureModel
from textreg.speed import with_way

with_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded at the third pass."""
    monkeypatch.setattr(recorded_passes, "COMES_BACK", 2)


@pytest.fixture
def fresh(backbone: Backbone) -> Denoiser:
    """A denoiser that has recorded nothing, of the same weights."""
    return Denoiser(backbone.denoiser.unet, backbone.denoiser.pixels)


@pytest.fixture
def passed(fresh: Denoiser) -> Iterator[list[int]]:
    """The samples of each pass that goes through the modules."""
    seen: list[int] = []
    watch = fresh.unet.conv_in.register_forward_pre_hook(lambda _, x: seen.append(len(x[0])))
    yield seen
    watch.remove()


def passes(function: Callable[..., Tensor], given: tuple[Any, ...]) -> list[Tensor]:
    """The prediction, and its gradient of each key and value."""
    prediction = function(*given)
    gradients = torch.autograd.grad(prediction.square().mean(), given[2])
    return [prediction.detach(), *gradients]


def equal(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_shape_that_comes_back_is_replayed_to_the_last_bit(
    backbone: Backbone, fresh: Denoiser, passed: list[int]
) -> None:
    """With and without gradients, whichever came first."""
    for samples in (1, 3):
        for _ in range(3):
            with torch.no_grad():
                fresh(*heard(backbone, samples))
        for _ in range(3):
            passes(fresh, heard(backbone, samples))
    passed.clear()
    for samples in (3, 1):
        x_t, t, keys_values = given = heard(backbone, samples)
        given = (x_t + 1, t.flip(0), keys_values)
        found = passes(fresh, given)
        assert passed == []
        assert equal(found, passes(fresh.eager, given))
        with torch.no_grad():
            passed.clear()
            prediction = fresh(*given)
            assert passed == []
            assert torch.equal(prediction, found[0])
    passes(fresh, heard(backbone, 2))
    assert passed == [2]


def test_speed_eager_never_replays(backbone: Backbone, passed: list[int], fresh: Denoiser) -> None:
    own = replace(backbone, denoiser=fresh)
    eager = with_way(own, "eager").denoiser
    for _ in range(5):
        passes(eager, heard(backbone, 1))
    assert passed == [1] * 5
    assert with_way(own, "graph") is own


def test_text_is_read_by_a_replay_to_the_last_bit(
    backbone: Backbone,
) -> None:
    """Of other words, masked otherwise, with another vector; not with an edit, nor in drawing."""
    recorded = RecordedPasses("the text encoder")
    own, plain = (replace(backbone, recorded_text=x) for x in (recorded, None))
    tokens = PictureModel(backbone).tokens(["a photo of a <krk1> cat", "a <krk1> dog in the photo"])
    vector = torch.randn(2, 64, requires_grad=True)
    never = torch.zeros(2, dtype=torch.bool)
    for _ in range(3):
        own.encode(tokens, vector, never)
    seen: list[int] = []
    encoder = backbone.text_encoder
    layers = getattr(encoder, "text_model", encoder).encoder
    watch = layers.register_forward_pre_hook(lambda *_: seen.append(1))
    vector = torch.randn(2, 64, requires_grad=True)
    given = tokens.rows(torch.tensor([1, 0])), vector, ~never
    ours = own.encode(*given).tokens
    assert seen == []
    theirs = plain.encode(*given).tokens
    assert seen == [1]
    gradient = torch.randn(ours.shape)
    found, wanted = (torch.autograd.grad(x, vector, gradient)[0] for x in (ours, theirs))
    assert torch.equal(ours, theirs)
    assert torch.equal(found, wanted)
    own.encode(*given, lambda name, x, result: result)
    with torch.no_grad():
        own.encode(*given)
    assert seen == [1, 1, 1]
    watch.remove()


def test_with_activations_computed_twice_nothing_is_replayed(
    backbone: Backbone, passed: list[int], fresh: Denoiser
) -> None:
    for _ in range(3):
        passes(fresh, heard(backbone, 1))
    passed.clear()
    fresh.keep_activations(False)
    passes(fresh, heard(backbone, 1))
    fresh.keep_activations(True)
    assert passed == [1]


WEIGHT = torch.randn(16, 16, 3, 3)


@with_onednn
def test_where_packing_rounds_otherwise_a_recording_goes_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[int] = []
    forward = PackedConvolution.forward

    def other(self: PackedConvolution, x: Tensor) -> Tensor:
        tried.append(len(x))
        return forward(self, x).nextafter(torch.tensor(torch.inf))

    monkeypatch.setattr(PackedConvolution, "forward", other)
    own, x = RecordedPasses("it"), torch.randn(2, 16, 4, 4)
    for _ in range(5):
        found = own(lambda x: torch.conv2d(x, WEIGHT, padding=1), x)
        assert torch.equal(found, torch.conv2d(x, WEIGHT, padding=1))
    assert tried == [2]
    assert None not in own._recorded.values()
    assert capsys.readouterr().err == ""


def test_where_a_product_rounds_otherwise_a_recording_goes_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of which alone nothing is packed."""
    forward = PointwiseConvolution.forward
    up = torch.tensor(torch.inf)
    monkeypatch.setattr(
        PointwiseConvolution, "forward", lambda own, x: forward(own, x).nextafter(up)
    )
    own, x = RecordedPasses("it"), torch.randn(2, 16, 4, 4)
    for _ in range(5):
        own(lambda x: torch.conv2d(x, WEIGHT[..., :1, :1]), x)
    assert None not in own._recorded.values()
    assert own.packed is None
    assert capsys.readouterr().err == ""


def test_a_layout_is_part_of_what_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """A product is in channels_last, where torch's convolution may not be."""
    own, x = RecordedPasses("it"), torch.randn(2, 16, 4, 4)
    for _ in range(5):
        found = own(lambda x: torch.conv2d(x, WEIGHT[..., :1, :1].contiguous()), x)
        assert found.stride() == torch.conv2d(x, WEIGHT[..., :1, :1].contiguous()).stride()
    assert None not in own._recorded.values()
    assert capsys.readouterr().err == ""


def test_what_is_a_part_of_another_tensor_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    whole = torch.randn(2, 3, 8, requires_grad=True)
    own = RecordedPasses("it")
    for _ in range(4):
        first, second = whole.split(4, dim=2)
        found = own(lambda x, y: (x.reshape(-1) * y.flatten()).sum(), first, second)
        assert torch.equal(found, (first * second).flatten().sum())
    assert len(own._recorded) == 1
    assert None not in own._recorded.values()
    assert capsys.readouterr().err == ""


def test_one_tensor_given_twice_may_be_two_the_next_time() -> None:
    own = RecordedPasses("it")
    a, b = torch.randn(2, 3)
    for other in (a, a, a, b):
        assert torch.equal(own(lambda x, y: 2 * x - y, a, other), 2 * a - other)


SIGNS = itertools.cycle([1.0, -1.0])


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: x if x.sum() > 0 else -x, "asks for a value of a tensor"),
        (lambda x: x + torch.rand(1), "a recording of it computes something else"),
        (lambda x: torch.complex(x, x).conj().imag * x, "a recording of it computes"),
        (lambda x: 0 * x * next(SIGNS), "a recording of it computes something else"),
    ],
)
def test_what_cannot_be_recorded_is_said_once(
    function: Callable[..., Tensor], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = RecordedPasses("the function")
    for _ in range(6):
        own(function, torch.ones(2))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("textreg: the function runs operator by operator, slower (")
    assert why in line


def test_numbers_that_are_none_are_no_difference(capsys: pytest.CaptureFixture[str]) -> None:
    own = RecordedPasses("the logarithm")
    x = torch.tensor([1.0, -1.0])
    for _ in range(4):
        assert own(torch.log, x)[1].isnan()
    assert capsys.readouterr().err == ""


def test_a_recording_is_of_strides_as_well() -> None:
    """What `view` may do depends on them."""

    def function(x: Tensor) -> Tensor:
        return (x.view(-1) if x.is_contiguous() else x.T.view(-1)) + 0

    own = RecordedPasses("it")
    x = torch.arange(6.0).view(2, 3)
    for _ in range(4):
        assert torch.equal(own(function, x), x.view(-1))
        assert torch.equal(own(function, x.T), x.view(-1))


def test_neither_slow_passes_nor_many_shapes_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[int] = []

    def record(function: Any, given: tuple[Tensor, ...], packed: Any) -> Any:
        recorded.append(len(given[0]))
        return function

    monkeypatch.setattr(recorded_passes, "recording", record)
    own = RecordedPasses("it")
    for size in range(20):
        for _ in range(4):
            own(torch.sin, torch.ones(size))
    assert recorded == list(range(recorded_passes._MOST))
    monkeypatch.setattr(recorded_passes, "_SLOW", 0.0)
    recorded.clear()
    slow = RecordedPasses("it")
    for _ in range(4):
        slow(torch.sin, torch.ones(1))
    assert recorded == []
