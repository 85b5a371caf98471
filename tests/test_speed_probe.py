"""The trial by which `--speed auto` chooses between eager and graphs on a GPU."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from graph_stand_in import GraphStandIn
from textreg import speed
from textreg.backbone import Backbone
from textreg.config import ClassImages, Images, Optimizer, Run
from textreg.run_folder import RunFolder
from textreg.run_pictures import check_pictures
from textreg.speed import chosen_way
from textreg.training import Training
from tiny_run import train_some

pytestmark = pytest.mark.thorough


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> GraphStandIn:
    """In place of a GPU: what surrounds the probe as well, which is kept short."""
    monkeypatch.setattr(speed, "_seconds", partial(speed._seconds, repeats=1))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    return GraphStandIn.instead(monkeypatch)


@pytest.mark.parametrize(("graph", "way"), [(0.5, "graph"), (0.99, "eager")])
def test_on_a_gpu_auto_takes_what_the_probe_says(
    backbone: Backbone,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    graph: float,
    way: str,
) -> None:
    times = iter([1.0, graph])
    monkeypatch.setattr(speed, "_seconds", lambda *_: next(times))
    run = make_run("run")
    gpu = replace(backbone, device=torch.device("cuda"))
    assert chosen_way(run, RunFolder(run), gpu, 2)[0] == way
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"textreg: --speed {way} (")


def test_a_probe_that_does_not_fit_ends_no_run(
    backbone: Backbone,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: Any) -> float:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(speed, "_seconds", full)
    run = make_run("run")
    gpu = replace(backbone, device=torch.device("cuda"))
    assert chosen_way(run, RunFolder(run), gpu, 2) == ("eager", gpu)
    assert "too little memory" in capsys.readouterr().err


def test_with_buckets_auto_is_eager_without_a_probe(
    backbone: Backbone, make_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("run", images=Images(resolution=16, views=2, buckets=True))
    gpu = replace(backbone, device=torch.device("cuda"))
    assert chosen_way(run, RunFolder(run), gpu, 2) == ("eager", gpu)
    assert capsys.readouterr().err == ""


def test_graphs_that_win_are_not_captured_again(
    backbone: Backbone,
    make_run: Callable[..., Run],
    graphs: GraphStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run's first step replays what the probe captured."""
    monkeypatch.setattr(speed, "_PAYS", float("inf"))
    run = make_run("run")
    way, quick = speed._probed(run, backbone, 2)
    assert (way, len(graphs.captured)) == ("graph", 1)
    replays = len(graphs.at_replay)
    Training(run, quick, check_pictures(run)).take_step()
    assert (len(graphs.captured), len(graphs.at_replay)) == (1, replays + 1)


def test_graphs_that_lose_leave_nothing(
    backbone: Backbone,
    make_run: Callable[..., Run],
    graphs: GraphStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive: weakref.WeakSet[Callable[..., Tensor]] = weakref.WeakSet()

    def graphed(function: Callable[..., Tensor], _: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        def replay(*given: Tensor) -> Tensor:
            return function(*given)

        replay.itself = replay  # type: ignore[attr-defined]
        alive.add(replay)
        return replay

    graphs.graphed = graphed
    freed: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(len(alive)))
    monkeypatch.setattr(speed, "_PAYS", 0.0)
    gc.disable()
    try:
        assert speed._probed(make_run("run"), backbone, 2) == ("eager", backbone)
        assert len(alive) == 0
    finally:
        gc.enable()
    assert freed == [0, 0]  # before the capture, after the probe


@pytest.mark.parametrize(
    "error", [torch.AcceleratorError("CUDA error: no\nmore"), RuntimeError("CUDA error: no")]
)
@pytest.mark.parametrize("where", ["capture", "replay"])
def test_graphs_that_fail_end_no_run(
    backbone: Backbone,
    make_run: Callable[..., Run],
    graphs: GraphStandIn,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    where: str,
) -> None:
    def graphed(function: Callable[..., Tensor], _: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        def replay(*given: Tensor) -> Tensor:
            if len(graphs.at_replay) > 1:
                raise error
            return function(*given)

        if where == "capture":
            raise error
        return replay

    graphs.graphed = graphed
    assert speed._probed(make_run("run"), backbone, 2) == ("eager", backbone)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("textreg: --speed eager (graphs failed: ")
    assert "CUDA error: no" in line


def test_what_fails_eagerly_is_no_matter_of_graphs(
    backbone: Backbone, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> float:
        raise RuntimeError("of the eager pass")

    monkeypatch.setattr(speed, "_seconds", fail)
    with pytest.raises(RuntimeError, match="of the eager pass"):
        speed._probed(make_run("run"), backbone, 2)


@pytest.mark.parametrize(
    ("prior", "stage"),
    [("textreg", 0), ("output-preservation", 1), ("class-images", 1), ("none", 1)],
)
def test_the_probe_has_a_steps_shapes(
    backbone: Backbone,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    prior: str,
    stage: int,
) -> None:
    """Those of the stage that has more samples."""
    run = make_run(
        "run",
        optimizer=Optimizer(batch_size=2),
        prior=prior,
        images=Images(resolution=32, views=1),
        class_images=ClassImages(count=2, steps=1),
    )
    asked: list[int] = []

    def chosen(_: Run, __: RunFolder, backbone: Backbone, samples: int) -> Any:
        asked.append(samples)
        return "eager", backbone

    monkeypatch.setattr("textreg.trainer.chosen_way", chosen)
    train_some(run, backbone, 1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    seen: list[list[tuple[int, ...]]] = []
    forward = backbone.denoiser.forward

    def watched(x_t: Tensor, t: Tensor, keys_values: list[Tensor], *rest: Any) -> Tensor:
        seen.append([tuple(x.shape) for x in (x_t, t, *keys_values)])
        return forward(x_t, t, keys_values, *rest)

    monkeypatch.setattr(backbone.denoiser, "forward", watched)
    assert speed._seconds(run, backbone, *asked) > 0
    training = Training(run, backbone, check_pictures(run))
    assert list(training.prior.collect(training.texts, run.out)) == []
    training.step = stage * run.inversion.steps
    assert training.advance()
    training.take_step()
    assert seen[0] == seen[-1]
