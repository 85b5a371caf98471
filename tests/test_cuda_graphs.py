"""Graphs of the denoiser: of one shape, on its device, equal to the eager pass or refused."""

import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graph_stand_in import Function, GraphStandIn, assert_as_eager, heard, passes
from textreg import learning, speed
from textreg.backbone import Backbone
from textreg.cuda_graphs import GraphsFailed
from textreg.errors import QuarantineError
from textreg.learning import learn
from textreg.run_pictures import check_pictures
from textreg.speed import with_way
from textreg.training import Training
from tiny_run import tiny_run

pytestmark = pytest.mark.thorough


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")
def test_graphs_are_as_eager(tiny_base: Path) -> None:
    from textreg.backbone import load

    assert_as_eager(load(str(tiny_base), device="cuda", dtype="fp32"), "graph")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> GraphStandIn:
    return GraphStandIn.instead(monkeypatch)


@pytest.fixture
def plainly(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The samples of each pass of the plain denoiser that no graph stands for."""
    seen: list[int] = []
    forward = backbone.denoiser.forward

    def watched(x_t: Tensor, *rest: Any) -> Tensor:
        seen.append(len(x_t))
        return forward(x_t, *rest)

    monkeypatch.setattr(backbone.denoiser, "forward", watched)
    return seen


@pytest.fixture
def replayed(backbone: Backbone, graphs: GraphStandIn, plainly: list[int]) -> GraphStandIn:
    """Graphs whose replay is no pass of the plain denoiser."""
    forward = type(backbone.denoiser).forward
    graphs.graphed = lambda _, __: (
        lambda x_t, t, *rest: forward(backbone.denoiser, x_t, t, list(rest))
    )
    return graphs


def test_the_newest_shape_is_kept_with_memory_of_its_own(
    backbone: Backbone, graphs: GraphStandIn
) -> None:
    assert_as_eager(backbone, "graph")
    assert [len(samples[0]) for samples in graphs.captured] == [1, 3, 1]
    x_t, t, *keys_values = graphs.captured[0]
    assert not x_t.requires_grad
    assert not t.requires_grad
    assert all(k.requires_grad and k.is_leaf for k in keys_values)
    quick = with_way(backbone, "graph")
    for _ in range(2):
        passes(quick, 2)
    assert [len(samples[0]) for samples in graphs.captured] == [1, 3, 1, 2]


class _Pool:
    """What a graph holds, in a reference cycle as torch's own do."""

    def __init__(self) -> None:
        self.itself = self


def test_of_a_shape_that_is_gone_nothing_lives_at_the_next_capture(
    backbone: Backbone, graphs: GraphStandIn
) -> None:
    alive: weakref.WeakSet[_Pool] = weakref.WeakSet()

    def graphed(function: Function, _: tuple[Tensor, ...]) -> Function:
        assert len(alive) == 0
        pool = _Pool()
        alive.add(pool)

        def replay(*given: Tensor, held: _Pool = pool) -> Tensor:
            return function(*given)

        return replay

    graphs.graphed = graphed
    quick = with_way(backbone, "graph")
    gc.disable()
    try:
        for samples in (2, 1, 3):
            passes(quick, samples)
            assert len(alive) == 1
    finally:
        gc.enable()


def test_capture_and_replay_are_on_the_tensors_device(
    backbone: Backbone, graphs: GraphStandIn
) -> None:
    passes(with_way(backbone, "graph"), 2)
    assert graphs.at_capture == [[backbone.device]]
    assert graphs.at_replay == [[backbone.device]] * 2  # one is the check
    assert graphs.current == []


def _replays_nothing(function: Function, samples: tuple[Tensor, ...]) -> Function:
    """What a graph of another device's stream does: the memory stays as the capture left it."""
    left = function(*samples).detach()

    def replay(*given: Tensor) -> Tensor:
        return left + 0 * function(*given)

    return replay


def _other_gradients(function: Function, _: tuple[Tensor, ...]) -> Function:
    def replay(*given: Tensor) -> Tensor:
        value = function(*given)
        return value.detach() + 0.5 * (value - value.detach())

    return replay


@pytest.mark.parametrize("wrong", [_replays_nothing, _other_gradients])
def test_graphs_that_compute_something_else_are_refused(
    backbone: Backbone,
    graphs: GraphStandIn,
    wrong: Callable[[Function, tuple[Tensor, ...]], Function],
) -> None:
    graphs.graphed = wrong
    with pytest.raises(GraphsFailed, match="do not compute what the eager denoiser does; use"):
        passes(with_way(backbone, "graph"), 2)


def test_rounding_is_not_something_else(backbone: Backbone, graphs: GraphStandIn) -> None:
    graphs.graphed = lambda function, _: lambda *given: 1.01 * function(*given)
    passes(with_way(backbone, "graph"), 2)
    assert len(graphs.captured) == 1


def test_what_torch_cannot_capture_is_one_line(backbone: Backbone, graphs: GraphStandIn) -> None:
    def fail(*_: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: not permitted when capturing\nmore of it")

    graphs.graphed = fail
    with pytest.raises(
        GraphsFailed, match=r"capture it \(CUDA error: not permitted when capturing\); use"
    ):
        passes(with_way(backbone, "graph"), 2)


def test_too_little_memory_for_a_capture_is_told_as_that(
    backbone: Backbone, graphs: GraphStandIn
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError

    graphs.graphed = full
    with pytest.raises(torch.OutOfMemoryError):
        passes(with_way(backbone, "graph"), 2)


def test_a_graph_is_not_replayed_before_its_backward(
    backbone: Backbone, replayed: GraphStandIn, plainly: list[int]
) -> None:
    quick = with_way(backbone, "graph")
    x_t, t, keys_values = heard(backbone, 2)
    first = quick.denoiser(x_t, t, keys_values)
    assert plainly == [2]  # what the graph is checked by
    second = quick.denoiser(x_t, t, keys_values)
    third = quick.denoiser(*heard(backbone, 3))
    assert plainly == [2, 2, 3]
    (first.square().mean() + second.square().mean() + third.square().mean()).backward()
    passes(quick, 2)
    assert plainly == [2, 2, 3]


def test_a_pass_that_takes_no_gradient_is_plain(
    backbone: Backbone, replayed: GraphStandIn, plainly: list[int]
) -> None:
    x_t, t, keys_values = heard(backbone, 2)
    quick = with_way(backbone, "graph")
    quick.denoiser(x_t, t, [k.detach() for k in keys_values])
    with torch.no_grad():
        quick.denoiser(x_t, t, keys_values)
    assert (plainly, replayed.captured) == ([2, 2], [])


def test_activations_computed_twice_go_the_plain_way(
    backbone: Backbone, graphs: GraphStandIn
) -> None:
    """And no memory is kept for graphs that are not replayed any more."""
    quick = with_way(backbone, "graph")
    passes(quick, 1)
    quick.denoiser.keep_activations(False)
    try:
        quick.denoiser.begin_step()
        replays = len(graphs.at_replay)
        passes(quick, 1)
        assert backbone.denoiser.unet.is_gradient_checkpointing
    finally:
        backbone.denoiser.keep_activations(True)
    assert not backbone.denoiser.unet.is_gradient_checkpointing
    assert len(graphs.at_replay) == replays
    passes(quick, 1)
    assert len(graphs.captured) == 2


@pytest.mark.parametrize("lost", [False, True])
def test_cards_are_drawn_without_the_graphs_of_training(
    backbone: Backbone,
    graphs: GraphStandIn,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: bool,
) -> None:
    """Nor does an error keep them that names who is in quarantine."""
    alive: weakref.WeakSet[_Pool] = weakref.WeakSet()

    def graphed(function: Function, _: tuple[Tensor, ...]) -> Function:
        alive.add(pool := _Pool())

        def replay(*given: Tensor, held: _Pool = pool) -> Tensor:
            return function(*given)

        return replay

    graphs.graphed = graphed
    monkeypatch.setattr(speed, "has_graphs", lambda _: True)
    seen: list[int] = []
    monkeypatch.setattr(learning, "write_cards", lambda *_, **__: seen.append(len(alive)))
    if lost:
        line = {"cat": "what happened"}
        monkeypatch.setattr("textreg.trainer._finish", lambda *_: line)
    run = tiny_run(tiny_base, tmp_path, cat_pictures, speed="graph")
    gc.disable()
    try:
        with pytest.raises(QuarantineError) if lost else nullcontext():
            learn(run, backbone=backbone, on_step=lambda _: seen.append(len(alive)))
    finally:
        gc.enable()
    assert seen == [1] * 6 + [0]


def test_a_step_of_graphs_walks_through_no_modules(
    backbone: Backbone,
    graphs: GraphStandIn,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """diffusers' own answer, whether activations are kept, takes milliseconds at true size."""
    run = tiny_run(tiny_base, tmp_path, cat_pictures)
    training = Training(run, with_way(backbone, "graph"), check_pictures(run))
    training.take_step()
    asked: list[None] = []
    unet: Any = type(backbone.denoiser.unet)
    monkeypatch.setattr(unet, "is_gradient_checkpointing", property(lambda _: asked.append(None)))
    training.take_step()
    assert graphs.captured
    assert asked == []


def test_after_memory_ended_a_step_its_graph_is_replayed(
    backbone: Backbone,
    graphs: GraphStandIn,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A backward that never came does not leave the graph unused for the rest of the run."""
    run = tiny_run(tiny_base, tmp_path, cat_pictures)
    training = Training(run, with_way(backbone, "graph"), check_pictures(run))
    backward = Tensor.backward

    def full(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(Tensor, "backward", backward)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    training.take_step()
    monkeypatch.setattr(Tensor, "backward", full)
    training.memory._smaller = lambda _: None  # type: ignore[method-assign]
    training.take_step()
    # The check and the first step, the one that memory ended, the same again.
    assert len(graphs.at_replay) == 4
    assert len(graphs.captured) == 1
