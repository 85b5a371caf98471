"""One bad concept of several: the others are bit-equal to a healthy run of the same batch shape."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from textreg import cli
from textreg.backbone import Backbone
from textreg.concept_adamw import ConceptAdamW
from textreg.config import Concept, Optimizer, Run, Tuning
from textreg.errors import QuarantineError
from textreg.evaluate.curves import draw_curves
from textreg.quarantine import weights_are_finite
from textreg.run_pictures import check_pictures
from textreg.trainer import trainings
from textreg.training import Training
from tiny_run import results, tiny_run

pytestmark = pytest.mark.thorough

NOUNS = ("cat", "dog", "cow", "hen")
BAD = 1


@pytest.fixture
def make_run(tiny_base: Path, cat_pictures: Path, tmp_path: Path) -> Callable[..., Run]:
    """Of four concepts, or of the first few."""
    for noun in NOUNS:
        shutil.copytree(cat_pictures, tmp_path / "data" / noun)
    concepts = tuple(
        Concept(images=tmp_path / "data" / noun, noun="cat", identifier=f"<krk{n}>")
        for n, noun in enumerate(NOUNS)
    )
    return lambda name, count=4: tiny_run(
        tiny_base, tmp_path / name, concepts=concepts[:count], tuning=Tuning(steps=4, rank=2)
    )


def latent(training: Training) -> None:
    own = training.latents[BAD]
    for picture in range(4):
        for view in range(2):
            own._spreads[picture, view] = torch.full((8, 8, 8), torch.nan)


def weight(training: Training) -> None:
    with torch.no_grad():
        next(iter(training.stage.parameters().values()))[BAD].flatten()[3] = torch.nan


def gradient(training: Training) -> None:
    def poison(grad: Tensor) -> Tensor:
        grad = grad.clone(memory_format=torch.contiguous_format)  # flatten is then a view
        grad[BAD].flatten()[5] = torch.inf
        return grad

    next(iter(training.stage.parameters().values())).register_hook(poison)


def state_of(training: Training) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in training.state().items() if "quarantine" not in k}


@pytest.mark.parametrize(
    ("where", "stage"),
    [
        (latent, 0),
        (weight, 1),
        (gradient, 1),
        *(
            pytest.param(*x, marks=pytest.mark.slow)
            for x in ((latent, 1), (weight, 0), (gradient, 0))
        ),
    ],
)
def test_the_others_are_bit_equal_and_the_bad_one_stays(
    backbone: Backbone,
    make_run: Callable[..., Run],
    where: Callable[[Training], None],
    stage: int,
) -> None:
    run = make_run("run")
    healthy, ill = (Training(run, backbone, check_pictures(run)) for _ in range(2))
    for training in (healthy, ill):
        if stage:
            training.step = run.inversion.steps
            assert training.advance()
        training.take_step()
    where(ill)
    good = state_of(ill)
    good = {k: v[BAD] for k, v in good.items()}
    for taken in range(2):
        wanted = {r.concept: r for r in healthy.take_step()}
        found = {r.concept: r for r in ill.take_step()}
        assert set(found) == set(NOUNS)
        for noun, record in found.items():
            assert (record.fault is not None) is (noun == NOUNS[BAD])
            if record.fault is None:
                assert record.losses == wanted[noun].losses
        assert set(ill.quarantined()) == ({NOUNS[BAD]} if taken else set())
    there, here = state_of(healthy), state_of(ill)
    others = [n for n in range(len(NOUNS)) if n != BAD]
    for name, tensor in here.items():
        assert torch.equal(tensor[others], there[name][others]), name
        assert torch.equal(tensor[BAD].nan_to_num(), good[name].nan_to_num()), name
    assert {r.concept for r in ill.take_step()} == set(NOUNS) - {NOUNS[BAD]}


def poison_at(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """The concept's gradient is not finite at these global steps."""
    plain = Training._gradient_norms

    def norms(training: Training) -> Tensor:
        found = plain(training)
        if training.global_step + 1 in steps:
            found[BAD] = torch.inf
        return found

    monkeypatch.setattr(Training, "_gradient_norms", norms)


def finish(run: Run, backbone: Backbone) -> QuarantineError:
    with pytest.raises(QuarantineError) as failure:
        for _ in trainings(run, backbone):
            pass
    return failure.value


@pytest.mark.parametrize(
    "stop_after", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 5, 6))]
)
def test_resume_around_the_strikes_is_exact(
    backbone: Backbone,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    stop_after: int,
) -> None:
    poison_at(monkeypatch, 2, 5)
    straight, stopped = make_run("straight", 3), make_run("stopped", 3)
    whole = finish(straight, backbone)
    going = trainings(stopped, backbone)
    for _ in range(stop_after):
        next(going)
    going.close()  # type: ignore[attr-defined]
    assert str(finish(stopped, backbone)) == str(whole)
    assert results(stopped.out) == results(straight.out)
    assert str(finish(stopped, backbone)) == str(whole), "the same command again: the same end"
    assert whole.concepts == {"dog"}
    assert "dog: the gradient is not finite at tuning step 2, timestep " in str(whole)
    lines: list[dict[str, Any]] = [
        json.loads(line, parse_constant=pytest.fail)
        for line in (straight.out / "metrics.jsonl").read_text().splitlines()
    ]
    own = [line for line in lines if line["concept"] == "dog"]
    assert [line["global_step"] for line in own] == [1, 2, 3, 4, 5]
    assert [line["global_step"] for line in own if "fault" in line] == [2, 5]
    assert [line["learning_rate"] for line in own] == [5e-4, 5e-4, 2.5e-4, 2e-4, 2e-4]
    adapters = {path.parent.name for path in straight.out.glob("*/learned_embeds.safetensors")}
    assert adapters == {"cat", "cow"}


def test_it_leaves_no_states_that_nobody_chooses_among(
    backbone: Backbone, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In quarantine in stage 2, when some of its states were kept as the best so far."""
    poison_at(monkeypatch, 5, 6)
    run, kept = make_run("run", 2), set[str]()

    def watch() -> None:
        for _ in trainings(run, backbone):
            kept.update(path.parent.name for path in run.out.glob("*/front"))

    with pytest.raises(QuarantineError):
        watch()
    assert kept == {"cat", "dog"}
    assert not list(run.out.rglob("front"))


def test_the_curve_leaves_out_a_step_without_a_loss() -> None:
    """The metrics say null there, and the picture is that of the other steps."""
    plain = [
        {"global_step": n, "stage": "inversion", "losses": {"denoising": 1 / n}}
        for n in range(1, 9)
    ]
    without = {"global_step": 9, "stage": "inversion", "losses": {"denoising": None}}
    assert draw_curves([*plain, without]) == draw_curves(plain)


def test_the_command_ends_with_1_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: Any) -> int:
        raise QuarantineError({"dog": "dog: no"})

    monkeypatch.setitem(cli._VERBS, "check", fail)
    assert cli.main(["check", "."]) == 1
    assert capsys.readouterr().err == "textreg: dog: no\n"


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_one_number_that_is_not_finite_is_found_and_nobody_elses(bad: float) -> None:
    tensors = [torch.full((4, 3, 2), 3e38), torch.full((4, 5), -3e38)]
    assert weights_are_finite(tensors).tolist() == [True] * 4
    tensors[0][1, 2, 0] = bad
    tensors[1][3, 4] = bad
    assert weights_are_finite(tensors).tolist() == [True, False, True, False]


def test_stacked_adamw_is_torchs_own_for_each_concept() -> None:
    """In float64, each concept with its own rate."""
    random = torch.Generator().manual_seed(0)
    start = torch.randn(3, 4, 2, generator=random, dtype=torch.float64)
    scale = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    settings = Optimizer(weight_decay=0.1)
    stacked = torch.nn.Parameter(start.clone())
    ours = ConceptAdamW({"weight": stacked}, settings)
    alone = [torch.nn.Parameter(x.clone()) for x in start]
    theirs = [
        torch.optim.AdamW([p], lr=0.01 * float(s), eps=settings.epsilon, weight_decay=0.1)
        for p, s in zip(alone, scale, strict=True)
    ]
    for _ in range(20):
        grad = torch.randn(start.shape, generator=random, dtype=torch.float64)
        stacked.grad = grad.clone()
        ours.update(0.01, scale)
        for p, own, g in zip(alone, theirs, grad, strict=True):
            p.grad = g.clone()
            own.step()
    torch.testing.assert_close(stacked, torch.stack(alone), rtol=1e-12, atol=1e-14)
