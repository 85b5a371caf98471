"""Each way to run the denoiser against the eager one, and which way a run takes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from textreg import cli, speed
from textreg.backbone import Backbone
from textreg.config import Optimizer, Run
from textreg.errors import UserError
from textreg.run_folder import RunFolder
from textreg.speed import chosen_way, require_speed, with_way
from textreg.trainer import check_pictures
from textreg.training import Training
from tiny_run import results, tiny_run, train, train_some

TORCHS_OWN = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script_method:DeprecationWarning", "ignore:The .grad attribute:UserWarning"
)
"""Warnings of its compiler about itself."""


@pytest.fixture
def make_run(
    tiny_base: Path, cat_pictures: Path, dog_pictures: Path, tmp_path: Path
) -> Callable[..., Run]:
    def make(name: str, **changes: Any) -> Run:
        return tiny_run(tiny_base, tmp_path / name, cat_pictures, dog_pictures, **changes)

    return make


def heard(backbone: Backbone, samples: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """x_t, t, and keys and values that want gradients."""
    random = torch.Generator(backbone.device).manual_seed(samples)
    options: dict[str, Any] = {"generator": random, "device": backbone.device}
    x_t = torch.randn(samples, 4, 8, 8, **options)
    t = torch.randint(1000, (samples,), **options)
    keys_values = [
        torch.randn(samples, 77, width, **options).requires_grad_()
        for width in backbone.projections.widths
    ]
    return x_t, t, keys_values


def passes(backbone: Backbone, samples: int) -> list[Tensor]:
    """The denoiser's prediction, and its mean square's gradient of each key and value."""
    x_t, t, keys_values = heard(backbone, samples)
    prediction = backbone.denoiser(x_t, t, keys_values)
    prediction.float().square().mean().backward()
    return [prediction.detach(), *(k.grad for k in keys_values if k.grad is not None)]


def assert_as_eager(backbone: Backbone, way: speed.Way) -> None:
    """Value and gradients, at two shapes and again at the first."""
    quick = with_way(backbone, way)
    for samples in (1, 3, 1):
        wanted = passes(backbone, samples)
        assert len(wanted) == 1 + len(backbone.projections.widths)
        for ours, theirs in zip(passes(quick, samples), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    x_t, t, keys_values = heard(backbone, 3)
    with torch.no_grad():
        assert torch.equal(
            quick.denoiser(x_t, t, keys_values), backbone.denoiser(x_t, t, keys_values)
        )


@pytest.mark.slow
@TORCHS_OWN
def test_compiled_is_as_eager(backbone: Backbone) -> None:
    assert_as_eager(backbone, "compile")


@pytest.mark.slow
@TORCHS_OWN
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")
def test_graphs_are_as_eager(tiny_base: Path) -> None:
    from textreg.backbone import load

    assert_as_eager(load(str(tiny_base), device="cuda", dtype="fp32"), "graph")


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, ...]]:
    """What graphs were captured with, where there is no CUDA: the function itself is called."""
    seen: list[tuple[Tensor, ...]] = []

    def capture(function: Callable[..., Tensor], samples: tuple[Tensor, ...]) -> Any:
        seen.append(samples)
        return function

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    return seen


def test_a_shape_is_captured_once_with_memory_of_its_own(
    backbone: Backbone, captured: list[tuple[Tensor, ...]]
) -> None:
    assert_as_eager(backbone, "graph")
    assert [len(samples[0]) for samples in captured] == [1, 3]
    x_t, t, *keys_values = captured[0]
    assert not x_t.requires_grad
    assert not t.requires_grad
    assert all(k.requires_grad and k.is_leaf for k in keys_values)


def test_a_graph_is_not_replayed_before_its_backward(
    backbone: Backbone, captured: list[tuple[Tensor, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = with_way(backbone, "graph")
    plainly: list[int] = []
    forward = backbone.denoiser.forward

    def watched(*given: Any) -> Tensor:
        plainly.append(1)
        return forward(*given)

    def replayed(function: Callable[..., Tensor], samples: tuple[Tensor, ...]) -> Any:
        return lambda x_t, t, *rest: forward(x_t, t, list(rest))

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", replayed)
    monkeypatch.setattr(backbone.denoiser, "forward", watched)
    x_t, t, keys_values = heard(backbone, 2)
    first = quick.denoiser(x_t, t, keys_values)
    assert plainly == []
    second = quick.denoiser(x_t, t, keys_values)
    assert plainly == [1]
    (first.square().mean() + second.square().mean()).backward()
    passes(quick, 2)
    assert plainly == [1]


def test_activations_computed_twice_go_the_plain_way(
    backbone: Backbone, captured: list[tuple[Tensor, ...]]
) -> None:
    backbone.denoiser.unet.enable_gradient_checkpointing()
    try:
        passes(with_way(backbone, "graph"), 1)
    finally:
        backbone.denoiser.unet.disable_gradient_checkpointing()
    assert captured == []


def test_on_a_cpu_auto_is_eager_without_a_probe(
    backbone: Backbone, make_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("run")
    assert chosen_way(run, RunFolder(run), backbone, 2) == "eager"
    assert with_way(backbone, "eager") is backbone
    assert capsys.readouterr().err == ""


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
    assert chosen_way(run, RunFolder(run), gpu, 2) == way
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
    assert chosen_way(run, RunFolder(run), gpu, 2) == "eager"
    assert "too little memory" in capsys.readouterr().err


def test_the_probe_has_a_steps_shapes(
    backbone: Backbone, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("run", optimizer=Optimizer(batch_size=2))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    seen: list[list[tuple[int, ...]]] = []
    forward = backbone.denoiser.forward

    def watched(x_t: Tensor, t: Tensor, keys_values: list[Tensor], *rest: Any) -> Tensor:
        seen.append([tuple(x.shape) for x in (x_t, t, *keys_values)])
        return forward(x_t, t, keys_values, *rest)

    monkeypatch.setattr(backbone.denoiser, "forward", watched)
    assert speed._seconds(run, backbone, 2) > 0
    training = Training(run, backbone, check_pictures(run))
    training.take_step()
    assert seen[0] == seen[-1]


def test_a_run_keeps_what_it_began_with(
    backbone: Backbone,
    make_run: Callable[..., Run],
    captured: list[tuple[Tensor, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The choice is on record, is no part of the run's identity, and another one is told."""
    monkeypatch.setattr("textreg.trainer.require_speed", lambda _: None)
    began, again, other = (make_run("run", speed=s) for s in ("graph", "auto", "eager"))
    train_some(began, backbone, 1)
    assert json.loads((began.out / "environment.json").read_text())["speed"] == "graph"
    place = RunFolder(again)
    capsys.readouterr()
    assert chosen_way(again, place, backbone, 2) == "graph"
    assert capsys.readouterr().err == ""
    assert chosen_way(other, place, backbone, 2) == "eager"
    assert "the run began with graph; it goes on" in capsys.readouterr().err
    captured.clear()
    train(again, backbone)
    assert captured
    assert began.digest == other.digest


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ("--speed graph", "--speed graph: CUDA graphs need a CUDA device"),
        ("--speed compile", "--speed compile: no C++ compiler (none-such)"),
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
    assert cli.main([*words, *flags.split()]) == 2
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
