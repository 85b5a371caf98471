"""Each way to run the denoiser against the eager one, and which way a run takes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graph_stand_in import GraphStandIn, assert_as_eager, heard
from textreg import cli, speed
from textreg.backbone import Backbone
from textreg.config import Images, Run
from textreg.errors import UserError
from textreg.method import recorded_passes
from textreg.method.denoiser import Denoiser
from textreg.method.recorded_passes import RecordedPasses
from textreg.run_folder import RunFolder
from textreg.speed import chosen_way, require_speed, with_way
from tiny_run import results, train, train_some

TORCHS_OWN = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script_method:DeprecationWarning", "ignore:The .grad attribute:UserWarning"
)
"""Warnings of its compiler about itself."""


class Wrong(torch.autograd.Function):
    """The same, with twice the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0]


def test_what_is_compiled_to_something_else_is_refused(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each shape; what is the same goes on."""
    wrong_of = {3}

    def compiled(eager: Callable[..., Tensor], **_: Any) -> Callable[..., Tensor]:
        def forward(x_t: Tensor, *rest: Any) -> Tensor:
            prediction: Any = eager(x_t, *rest)
            return Wrong.apply(prediction) if len(x_t) in wrong_of else prediction

        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    quick = with_way(backbone, "compile").denoiser
    for _ in range(2):
        quick(*heard(backbone, 1)).sum().backward()
    with pytest.raises(UserError, match="--speed compile: what torch compiled"):
        quick(*heard(backbone, 3))


@pytest.fixture
def sound_compiler(backbone: Backbone) -> None:
    """torch 2.13 compiles the tests' base to other gradients on a CPU (docs/log.md)."""
    try:
        with_way(backbone, "compile").denoiser(*heard(backbone, 1))
    except UserError as error:
        if "computes something else" not in str(error):
            raise
        pytest.xfail(str(error))


@pytest.mark.slow
@TORCHS_OWN
@pytest.mark.usefixtures("sound_compiler")
def test_compiled_is_as_eager(backbone: Backbone) -> None:
    assert_as_eager(backbone, "compile")


@pytest.mark.slow
@TORCHS_OWN
@pytest.mark.usefixtures("sound_compiler")
def test_a_compiled_run_goes_on_exactly(backbone: Backbone, make_run: Callable[..., Run]) -> None:
    """And it ends, to rounding, where the eager one ends."""
    compiled = {"speed": "compile", "save_steps": 1}
    train(make_run("straight", **compiled), backbone)
    train_some(make_run("stopped", **compiled), backbone, 4)
    train(make_run("stopped", **compiled), backbone)
    straight, stopped = (make_run(name).out for name in ("straight", "stopped"))
    assert results(straight) == results(stopped)
    train(make_run("eager"), backbone)
    for ours, eager in zip(
        results(straight)["metrics"], results(make_run("eager").out)["metrics"], strict=True
    ):
        assert ours["losses"] == pytest.approx(eager["losses"], rel=1e-4)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> GraphStandIn:
    return GraphStandIn.instead(monkeypatch)


def test_on_a_cpu_auto_is_graph_without_a_probe(
    backbone: Backbone, make_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    """But for what a graph cannot be of."""
    run = make_run("run")
    assert chosen_way(run, RunFolder(run), backbone, 2) == ("graph", backbone)
    other = make_run("run", images=Images(resolution=16, views=2, buckets=True))
    assert chosen_way(other, RunFolder(other), backbone, 2)[0] == "eager"
    assert capsys.readouterr().err == ""


def test_eager_and_graph_end_in_the_same_bytes(
    backbone: Backbone,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And what is on record says so: either goes on as the other, without a word."""
    monkeypatch.setattr(recorded_passes, "COMES_BACK", 2)
    recorded: list[int] = []
    record = recorded_passes.recording
    monkeypatch.setattr(
        recorded_passes,
        "recording",
        lambda *given: recorded.append(len(given[1])) or record(*given),
    )
    own = replace(
        backbone,
        denoiser=Denoiser(backbone.denoiser.unet, backbone.denoiser.pixels),
        recorded_text=RecordedPasses("the text encoder"),
    )
    for way, other in (("eager", "graph"), ("graph", "eager")):
        train_some(make_run(way, speed=way), own, 5)
        # The text encoder reads rows and a mask, the denoiser more.
        assert sorted({min(count, 3) for count in recorded}) == ([2, 3] if way == "graph" else [])
        capsys.readouterr()
        train(make_run(way, speed=other), own)
        assert "bytes" not in capsys.readouterr().err
    graph, eager = (results(make_run(way).out) for way in ("graph", "eager"))
    assert graph == eager


@pytest.mark.thorough
def test_a_run_keeps_what_it_began_with(
    backbone: Backbone,
    make_run: Callable[..., Run],
    graphs: GraphStandIn,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The choice is on record, is no part of the run's identity, and another one is told."""
    monkeypatch.setattr(speed, "has_graphs", lambda _: True)
    began, again, other = (make_run("run", speed=s) for s in ("graph", "auto", "eager"))
    train_some(began, backbone, 1)
    assert json.loads((began.out / "environment.json").read_text())["speed"] == "graph"
    place = RunFolder(again)
    capsys.readouterr()
    assert chosen_way(again, place, backbone, 2)[0] == "graph"
    assert capsys.readouterr().err == ""
    assert chosen_way(other, place, backbone, 2) == ("eager", backbone)
    assert "the run began with graph; it goes on" in capsys.readouterr().err
    graphs.captured.clear()
    train(again, backbone)
    assert graphs.captured
    assert began.digest == other.digest


@pytest.mark.thorough
def test_a_run_of_graphs_goes_on_where_there_are_none(
    backbone: Backbone,
    make_run: Callable[..., Run],
    graphs: GraphStandIn,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train_some(make_run("run", speed="graph"), backbone, 1)
    monkeypatch.setattr(speed, "has_graphs", lambda _: False)
    monkeypatch.setattr(speed, "records_itself", lambda _: True)
    graphs.captured.clear()
    run = make_run("run")
    train(run, backbone)
    assert graphs.captured == []
    told = "textreg: --speed eager: the run began with graph; it goes on, but not to the very same"
    assert told in capsys.readouterr().err
    assert len(results(run.out)["metrics"]) == 12


def test_a_damaged_record_of_the_way_is_refused(
    backbone: Backbone, make_run: Callable[..., Run]
) -> None:
    run = make_run("run")
    train_some(run, backbone, 1)
    for damaged in ("graphs", "auto", True, ["eager"]):
        (run.out / "environment.json").write_text(json.dumps({"speed": damaged}))
        with pytest.raises(UserError, match="its speed is none of eager, compile, graph; choose"):
            chosen_way(run, RunFolder(run), backbone, 2)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ("--speed compile", "--speed compile: no C++ compiler (none-such)"),
        ("--speed graph --config {buckets}", "--speed graph knows no images.buckets"),
        ("--speed compile --placement full --prior none", "--speed compile knows no --placement"),
    ],
)
def test_what_this_machine_has_not_is_refused(
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: str,
    why: str,
) -> None:
    monkeypatch.setenv("CXX", "none-such")
    words = ["train", str(cat_pictures), "--out", str(tmp_path / "run"), "--device", "cpu"]
    (buckets := tmp_path / "buckets.yaml").write_text("images: {buckets: true}")
    assert cli.main([*words, *flags.format(buckets=buckets).split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line
    assert not (tmp_path / "run").exists()


def test_what_torch_cannot_compile_is_one_line(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def fail(*given: Any) -> Tensor:
        raise TorchDynamoException("it raised:\nno header\nand a hundred lines")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    x_t, t, keys_values = heard(backbone, 1)
    with pytest.raises(
        UserError, match=r"could not compile this denoiser \(it raised: no header\); use"
    ):
        with_way(backbone, "compile").denoiser(x_t, t, keys_values)


def test_eager_and_auto_need_nothing(make_run: Callable[..., Run]) -> None:
    for way in ("auto", "eager"):
        require_speed(make_run("run", speed=way, device="cpu"))
