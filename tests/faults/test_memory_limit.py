"""Fault 17: out of memory: smaller parts, then less kept, the same result; else one line."""

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from textreg import training as module
from textreg.backbone import Backbone
from textreg.config import Optimizer, Run
from textreg.errors import UserError
from textreg.run_pictures import check_pictures
from textreg.trainer import trainings
from textreg.training import Training
from tiny_run import results, tiny_run, train

pytestmark = pytest.mark.thorough

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


SETTINGS: dict[str, Any] = {
    "optimizer": Optimizer(batch_size=4),
    "dtype": "fp64",
    "save_steps": 2,
}


@pytest.fixture
def make_run(
    tiny_base: Path, cat_pictures: Path, dog_pictures: Path, tmp_path: Path
) -> Callable[[str], Run]:
    return lambda name: tiny_run(tiny_base, tmp_path / name, cat_pictures, dog_pictures, **SETTINGS)


@pytest.fixture(scope="module")
def straight(
    backbone64: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Training:
    """A run for which there was room all the time."""
    out = tmp_path_factory.mktemp("room") / "run"
    return train(tiny_run(tiny_base, out, cat_pictures, dog_pictures, **SETTINGS), backbone64)


@pytest.fixture(autouse=True)
def plain_again(backbone64: Backbone) -> Generator[None]:
    yield
    backbone64.denoiser.keep_activations(True)


def full_at(patch: pytest.MonkeyPatch, when: Callable[[int, Any], bool]) -> list[int]:
    """Let the denoiser run out of memory where `when(number of the call, samples)` says so."""
    calls: list[int] = []
    plain = module.losses

    def losses(batches: Any, *given: Any) -> Any:
        calls.append(batches[0].t.shape[1])
        found = plain(batches, *given)
        if when(len(calls), batches[0].t.shape[1]):
            raise torch.OutOfMemoryError(FULL)
        return found

    patch.setattr(module, "losses", losses)
    return calls


def test_parts_that_fit_give_the_same_gradients(
    backbone64: Backbone, make_run: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64: of one, two and four samples at a time, and with activations computed twice."""
    run = make_run("run")
    whole, cut, twice = (Training(run, backbone64, check_pictures(run)) for _ in range(3))
    for training in (whole, cut, twice):
        training.step = run.inversion.steps
        assert training.advance()
    wanted = [record.losses for record in whole.take_step()]
    with monkeypatch.context() as patch:
        calls = full_at(patch, lambda number, samples: samples > 2)
        found = [record.losses for record in cut.take_step()]
        assert calls == [4, 2, 2]
    with monkeypatch.context() as patch:
        calls = full_at(patch, lambda number, _: number <= 3)
        again = [record.losses for record in twice.take_step()]
        assert calls == [4, 2, 1, 1, 1, 1, 1]
    assert backbone64.denoiser.unet.is_gradient_checkpointing
    for other, terms in ((cut, found), (twice, again)):
        for name, tensor in whole.state().items():
            torch.testing.assert_close(other.state()[name], tensor, rtol=1e-9, atol=1e-12)
        assert [pytest.approx(own, rel=1e-9) for own in wanted] == terms


def test_the_next_run_of_the_process_begins_without_it(
    backbone64: Backbone, make_run: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Already where memory decides how many concepts share a batch."""
    unet = backbone64.denoiser.unet
    first = make_run("first")
    training = Training(first, backbone64, check_pictures(first))
    with monkeypatch.context() as patch:
        full_at(patch, lambda number, _: number <= 3)
        training.take_step()
    assert unet.is_gradient_checkpointing
    asked: list[bool] = []

    def size(*_: Any) -> int:
        asked.append(unet.is_gradient_checkpointing)
        return 1

    monkeypatch.setattr("textreg.trainer.wave_size", size)
    waves = trainings(make_run("second"), backbone64)
    calls = full_at(monkeypatch, lambda number, _: number <= 3)
    next(waves)
    assert asked == [False]
    assert calls == [4, 2, 1, 1, 1, 1, 1]
    assert unet.is_gradient_checkpointing
    here = [(training.concepts[0].name, unet.is_gradient_checkpointing) for training, _ in waves]
    assert here == [("cat", True)] * 5 + [("dog", False)] * 6


@pytest.mark.parametrize("at", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 6))])
def test_a_run_that_meets_it_ends_as_one_that_does_not(
    backbone64: Backbone,
    straight: Training,
    make_run: Callable[[str], Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    at: int,
) -> None:
    full_at(monkeypatch, lambda number, _: number == at)
    met = train(make_run("met"), backbone64)
    for name, tensor in straight.state().items():
        torch.testing.assert_close(met.state()[name], tensor, rtol=1e-6, atol=1e-9)
    assert "each batch is computed in 2 parts from here on" in capsys.readouterr().err


def test_where_nothing_fits_one_line_says_how_much(
    backbone64: Backbone,
    straight: Training,
    make_run: Callable[[str], Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The steps before it are kept, and the same command goes on to the same bytes."""
    run = make_run("run")
    with monkeypatch.context() as patch:
        full_at(patch, lambda number, _: number > 2)
        with pytest.raises(UserError, match=r"2 concepts of one sample each: .*Tried .* 2.00 GiB"):
            train(run, backbone64)
    backbone64.denoiser.keep_activations(True)
    assert len(list(trainings(run, backbone64))) == 4
    assert results(run.out) == results(straight.run.out)


def test_with_buckets_a_micro_batch_stays_whole(
    backbone64: Backbone, make_run: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first sample decides the shape: a half would train on other pictures."""
    run = make_run("run")
    run = replace(run, images=replace(run.images, buckets=True))
    training = Training(run, backbone64, check_pictures(run))
    calls = full_at(monkeypatch, lambda number, _: number == 1)
    training.take_step()
    assert calls == [4, 4]
    assert backbone64.denoiser.unet.is_gradient_checkpointing
    full_at(monkeypatch, lambda number, _: True)
    with pytest.raises(UserError, match="2 concepts of 4 samples each"):
        training.take_step()
