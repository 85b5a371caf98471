"""What training changes and what it does not; N concepts; accumulation; clip; golden losses."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from textreg.backbone import Backbone, load
from textreg.batch import losses
from textreg.concept import read_picture
from textreg.concept_adamw import ConceptAdamW
from textreg.config import Images, Inversion, Optimizer, Run, TextReg, Tuning
from textreg.errors import UserError
from textreg.latents import Latents
from textreg.randomness import Draws
from textreg.run_pictures import check_pictures
from textreg.trainer import steps, trainings
from textreg.training import FP16_SCALE, Training
from tiny_run import assert_same_edit, hashes, tiny_run, train

GOLDEN = Path(__file__).parent / "golden" / "losses.json"


def new_training(run: Run, backbone: Backbone) -> Training:
    return Training(run, backbone, check_pictures(run))


def gradients(training: Training) -> dict[str, Tensor]:
    """A copy of each; the parameters are left without."""
    found: dict[str, Tensor] = {}
    for name, parameter in training.stage.parameters().items():
        assert parameter.grad is not None
        found[name] = parameter.grad.clone()
        parameter.grad = None
    return found


def into_tuning(training: Training) -> None:
    """Stage 2, at an edit that is not zero."""
    training.step = training.run.inversion.steps
    assert training.advance()
    with torch.no_grad():
        up = training.edits.text.up
        up.copy_(0.1 * torch.randn(up.shape, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("prior", ["textreg", "none"])
def test_nothing_frozen_changes(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path, prior: str
) -> None:
    """Every row of the embedding table and every other frozen tensor, bit for bit."""
    frozen = (backbone.text_encoder, backbone.vae, backbone.denoiser, backbone.projections)
    before = hashes(*frozen)
    assert sum(len(names) for names in before) > 300
    run = tiny_run(tiny_base, tmp_path, cat_pictures, prior=prior)
    training = train(run, backbone)
    assert all(p.grad is None for module in frozen for p in module.parameters())
    assert hashes(*frozen) == before
    assert hashes(training.projections)[0]["weight"] == before[3]["weight"]
    assert training.edits.text.factors(0)[0][1].norm() > 0


def test_exactly_these_parameters_train(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, dog_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(tiny_base, tmp_path, cat_pictures, dog_pictures)
    training = new_training(run, backbone)

    def optimised() -> list[Tensor]:
        assert isinstance(training.optimizer, ConceptAdamW)
        return list(training.optimizer.parameters.values())

    assert {k: tuple(p.shape) for k, p in training.stage.parameters().items()} == {
        "vectors": (2, 64)
    }
    assert [p.data_ptr() for p in optimised()] == [training.inversion.vectors.data_ptr()]
    into_tuning(training)
    assert {k: tuple(p.shape) for k, p in training.stage.parameters().items()} == {
        "down": (2, 8, 2, 64),
        "up": (2, 2 * (6 * 16 + 2 * 32)),
    }
    assert len(optimised()) == 2
    modules = (backbone.text_encoder, backbone.vae, backbone.denoiser, backbone.projections)
    assert not any(p.requires_grad for module in modules for p in module.parameters())
    assert isinstance(training.optimizer, ConceptAdamW)
    settings = training.optimizer._settings
    assert (settings.beta1, settings.beta2) == (0.9, 0.999)
    assert (settings.epsilon, settings.weight_decay) == (1e-8, 1e-2)


def test_first_tuning_step_moves_no_down(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """At B = 0 no term reaches A, and every gradient is finite."""
    training = new_training(tiny_run(tiny_base, tmp_path, cat_pictures), backbone)
    training.step = training.run.inversion.steps
    training.advance()
    training._backward(0)
    for name, grad in gradients(training).items():
        assert bool(grad.isfinite().all())
        assert bool(grad.any()) is name.startswith("up")


@pytest.mark.parametrize("form", ["norm", pytest.param("squared", marks=pytest.mark.slow)])
def test_concepts_in_one_batch_are_each_alone(
    backbone64: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
    form: Any,
) -> None:
    """In float64; AdamW may enlarge rounding, at most by lr / epsilon = 4e4, so 1e-10 is asked."""
    options: dict[str, Any] = {
        "dtype": "fp64",
        "optimizer": Optimizer(batch_size=2),
        "textreg": TextReg(form=form),
    }
    both = tiny_run(tiny_base, tmp_path / "both", cat_pictures, dog_pictures, **options)
    taken = list(trainings(both, backbone64))
    together = [record for _, records in taken for record in records]
    adapters = taken[-1][0].adapters()
    for n, concept in enumerate(both.concepts):
        single = replace(both, concepts=(concept,), out=tmp_path / f"alone{n}")
        taken = list(trainings(single, backbone64))
        alone = [record for _, records in taken for record in records]
        own = [record for record in together if record.concept == concept.name]
        assert len(own) == len(alone) == 6
        for here, there in zip(own, alone, strict=True):
            assert (here.stage, here.step) == (there.stage, there.step)
            assert here.losses == pytest.approx(there.losses, rel=1e-9)
            if here.drift or there.drift:
                assert here.drift == pytest.approx(there.drift, rel=1e-7)
        adapter = taken[-1][0].adapters()[0]
        torch.testing.assert_close(adapters[n].vector, adapter.vector, rtol=0, atol=1e-10)
        assert_same_edit(adapters[n], adapter, atol=1e-10)
        assert all(up.abs().max() > 1e-4 for _, up in adapter.factors.values())
    assert not torch.allclose(adapters[0].vector, adapters[1].vector)


@pytest.mark.parametrize("stage", ["inversion", "tuning"])
def test_accumulation_is_the_mean_gradient_of_its_micro_batches(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path, stage: str
) -> None:
    one = tiny_run(tiny_base, tmp_path, cat_pictures, dtype="fp64")
    three = replace(one, optimizer=Optimizer(accumulation=3))
    alone, together = new_training(one, backbone64), new_training(three, backbone64)
    if stage == "tuning":
        into_tuning(alone)
        into_tuning(together)
    single: list[dict[str, Tensor]] = []
    totals: list[Tensor] = []
    for micro in range(3):
        alone._micro_batches = [[(micro, 0)]]
        totals.append(alone._backward(0)["total"])
        single.append(gradients(alone))
    assert not torch.equal(totals[0], totals[1])
    taken: dict[str, Tensor] = {}
    together._clip = lambda norms: taken.update(gradients(together))  # type: ignore[method-assign]
    (record,) = together.take_step()
    assert record.losses["total"] == pytest.approx(float(sum(totals)) / 3, rel=1e-12)
    for name, grad in taken.items():
        mean = sum(g[name] for g in single) / 3
        torch.testing.assert_close(grad, mean, rtol=1e-10, atol=1e-14)


@pytest.mark.thorough
def test_accumulated_micro_batches_are_one_large_batch(
    backbone64: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three of two and one of six, given the same draws: the same run, to rounding."""
    large = tiny_run(
        tiny_base, tmp_path / "large", cat_pictures, dtype="fp64", optimizer=Optimizer(batch_size=6)
    )
    small = replace(
        large, out=tmp_path / "small", optimizer=Optimizer(batch_size=2, accumulation=3)
    )
    there = train(large, backbone64).adapters()[0]

    def counted_on(*key: Any) -> Draws:
        *rest, micro, sample = key
        return Draws(*rest, 0, 2 * micro + sample)

    monkeypatch.setattr("textreg.data_parallel.Draws", counted_on)
    here = train(small, backbone64).adapters()[0]
    torch.testing.assert_close(here.vector, there.vector, rtol=0, atol=1e-9)
    assert_same_edit(here, there, atol=1e-9)
    assert all(up.abs().max() > 1e-4 for _, up in there.factors.values())


def test_a_small_gradient_survives_half_precision(
    backbone64: Backbone,
    tiny_base: Path,
    tmp_path: Path,
    cat_pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loss that is a mean over many numbers gives each a gradient that fp16 rounds to nothing."""
    plain = losses

    def small(*given: Any) -> list[Tensor]:
        return [1e-5 * loss for loss in plain(*given)]

    monkeypatch.setattr("textreg.training.losses", small)
    run = tiny_run(tiny_base, tmp_path, cat_pictures, prior="none")
    half = load(str(tiny_base), device="cpu", dtype="fp16")
    found: dict[tuple[str, float], Tensor] = {}
    for name, base, scale in (("64", backbone64, 1), ("16", half, 1), ("16", half, FP16_SCALE)):
        monkeypatch.setattr("textreg.training.FP16_SCALE", scale)
        training = new_training(run, base)
        into_tuning(training)
        training._gradients(1)
        found[name, scale] = torch.cat([g.double().flatten() for g in gradients(training).values()])
    wanted = found["64", 1]
    errors = {k: float((g - wanted).norm() / wanted.norm()) for k, g in found.items()}
    assert errors["16", FP16_SCALE] < 0.02
    assert errors["16", 1] > 0.2


def test_total_is_the_weighted_sum_of_the_terms(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    settings = TextReg(class_weight=0.3, edit_weight=0.7)
    run = tiny_run(tiny_base, tmp_path, cat_pictures, textreg=settings)
    for record in steps(run, backbone):
        terms = dict(record.losses)
        total = terms.pop("total")
        weights = {"denoising": 1.0, "class_prior": 0.3, "edit_prior": 0.7}
        assert total == pytest.approx(sum(weights[k] * v for k, v in terms.items()), rel=1e-6)
        assert set(terms) == (set(weights) if record.stage == "tuning" else {"denoising"})


def test_clip_is_each_concepts_own(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, dog_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(tiny_base, tmp_path, cat_pictures, dog_pictures)
    training = new_training(run, backbone)
    into_tuning(training)
    training._backward(0)
    for parameter in training.stage.parameters().values():
        assert parameter.grad is not None
        parameter.grad[0] *= 1e4  # far above the limit
        parameter.grad[1] *= 1e-4  # far below
    wanted: list[list[Tensor]] = []
    for n in range(2):
        own = [torch.zeros_like(p[n]) for p in training.stage.parameters().values()]
        for copy, parameter in zip(own, training.stage.parameters().values(), strict=True):
            assert parameter.grad is not None
            copy.grad = parameter.grad[n].clone()
        norm = torch.nn.utils.clip_grad_norm_(own, 1.0)
        assert bool(norm > 1) is (n == 0)
        wanted.append([copy.grad for copy in own if copy.grad is not None])
    training._clip(training._gradient_norms())
    for position, grad in enumerate(gradients(training).values()):
        for n in range(2):
            torch.testing.assert_close(grad[n], wanted[n][position])


def test_warm_up_and_schedule_reach_the_optimiser(
    monkeypatch: pytest.MonkeyPatch,
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
) -> None:
    run = tiny_run(
        tiny_base,
        tmp_path,
        cat_pictures,
        inversion=Inversion(steps=2, learning_rate=0.2, warmup_steps=2),
        tuning=Tuning(steps=4, rank=2, learning_rate=0.4, warmup_steps=2, schedule="linear"),
    )
    used: list[float] = []
    update = ConceptAdamW.update

    def watched(self: ConceptAdamW, rate: float, scale: Tensor) -> None:
        used.append(rate)
        update(self, rate, scale)

    monkeypatch.setattr(ConceptAdamW, "update", watched)
    rates = [record.learning_rate for _, (record,) in trainings(run, backbone)]
    assert used == rates
    assert rates == pytest.approx([0.1, 0.2, 0.2, 0.4, 0.4, 0.2])


def poisoned(where: str) -> Any:
    """A denoiser's output with a number that is not finite, in its value or its gradient only."""

    def poison(value: Tensor) -> Tensor:
        if where == "loss":
            return value * torch.nan
        # sqrt at 0: the value is 0, the derivative infinite.
        return value + (value - value.detach()).abs().sqrt().sum()

    return poison


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_not_taken(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    """Alone as among others: half the rate, then the end in one line; the good state stays."""
    training = new_training(tiny_run(tiny_base, tmp_path, cat_pictures), backbone)
    training.take_step()
    before = {name: tensor.clone() for name, tensor in training.state().items()}
    plain, poison = backbone.denoiser.forward, poisoned(where)
    monkeypatch.setattr(backbone.denoiser, "forward", lambda *given: poison(plain(*given)))
    (first,), (second,) = training.take_step(), training.take_step()
    for record, step in ((first, 2), (second, 3)):
        t = Draws(0, "cat", "inversion", step - 1, 0, 0).index("timestep", 1000)
        wanted = f"cat: the {where} is not finite at inversion step {step}, timestep {t}, "
        assert (record.fault or "").startswith(wanted)
    assert (first.learning_rate, second.learning_rate) == (5e-4, 2.5e-4)
    assert not training.advance()
    assert set(training.quarantined()) == {"cat"}
    after = training.state()
    assert {k for k in after if not torch.equal(after[k], before[k])} == {
        "quarantine.strikes",
        "quarantine.last",
    }


def test_drift_is_measured_every_tenth_step_of_stage_two(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(
        tiny_base,
        tmp_path,
        cat_pictures,
        inversion=Inversion(steps=1),
        tuning=Tuning(steps=11, rank=2),
    )
    records = list(steps(run, backbone))
    assert [r.step for r in records if r.drift] == [10]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    drift = lines[10]["drift"]
    assert set(drift) == {"class", "neighbour", "general", "null"}
    assert all(0 < value < 1 for value in drift.values())


@pytest.fixture
def latents(backbone: Backbone, cat_pictures: Path) -> Any:
    pictures = [read_picture(path) for path in sorted(cat_pictures.iterdir())]

    def build(**settings: Any) -> Latents:
        return Latents(pictures, backbone, Images(resolution=16, **settings), (0, "cat"))

    return build


@pytest.fixture
def encoded(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Every picture the VAE was given."""
    seen: list[Tensor] = []
    encode = backbone.vae.encode

    def watched(pictures: Tensor) -> Any:
        seen.append(pictures.clone())
        return encode(pictures)

    monkeypatch.setattr(backbone.vae, "encode", watched)
    return seen


def test_kept_views_are_encoded_once_and_fresh_ones_each_step(
    latents: Any, encoded: list[Tensor]
) -> None:
    kept, fresh = latents(views=2), latents(views=None)
    for step in range(100):
        kept.samples([Draws("step", step)])[0][0]
    assert len(encoded) == 8  # 4 pictures, 2 views
    assert len({view.numpy().tobytes() for view in encoded}) == 8
    encoded.clear()
    for step in range(40):
        fresh.samples([Draws("step", step)])[0][0]
    assert len({view.numpy().tobytes() for view in encoded}) == 40


def test_a_kept_view_does_not_depend_on_when_it_was_first_drawn(latents: Any) -> None:
    forward, backward = latents(views=3), latents(views=3)
    there = [forward.samples([Draws("step", step)])[0][0] for step in range(12)]
    back = [backward.samples([Draws("step", step)])[0][0] for step in reversed(range(12))]
    assert all(torch.equal(a, b) for a, b in zip(there, reversed(back), strict=True))


def test_the_latent_is_drawn_from_the_posterior(
    latents: Any, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x_0 = scaling (mean + deviation noise), with noise of the step's own."""
    one = latents(views=1, jitter=False, flip=False)
    draw = Draws("step", 3)
    x_0 = one.samples([draw])[0][0]
    picture = draw.index("picture", 4)
    moments = one._kept(picture, *one._of_view(picture, 0))
    mean, log_variance = moments[:4], moments[4:]
    noise = draw.normal("posterior", (4, 8, 8))
    wanted = 0.5 * (mean + (0.5 * log_variance).exp() * noise)
    torch.testing.assert_close(x_0, wanted)
    assert backbone.vae.config.scaling_factor == 0.5
    # The deviation is kept with the view.
    monkeypatch.setattr(torch.Tensor, "exp", None)
    assert torch.equal(one.samples([draw])[0][0], x_0)


def test_a_resolution_the_base_cannot_take_is_refused(backbone: Backbone) -> None:
    with pytest.raises(UserError, match="--resolution 24: this base needs a multiple of 16"):
        Latents([], backbone, Images(resolution=24), (0, "cat"))


def test_losses_are_the_golden_ones(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """10 + 10 steps, seed 0. A change of the method changes them: write them anew with

    TEXTREG_WRITE_GOLDEN=1 python -m pytest tests/test_trainer.py -k golden

    and say in the commit why they changed.
    """
    run = tiny_run(
        tiny_base,
        tmp_path,
        cat_pictures,
        inversion=Inversion(steps=10),
        tuning=Tuning(steps=10, rank=2),
    )
    losses: dict[str, list[float]] = {}
    for record in steps(run, backbone):
        for name, value in record.losses.items():
            losses.setdefault(f"{record.stage} {name}", []).append(value)
    if os.environ.get("TEXTREG_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(losses, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert losses.keys() == golden.keys()
    for name, values in golden.items():
        # The first edit prior is 0: there only the absolute error counts.
        assert losses[name] == pytest.approx(values, rel=1e-4, abs=1e-7), name
