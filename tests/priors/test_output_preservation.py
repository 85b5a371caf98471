"""Zero at the base; its value and gradient by a separate computation and finite differences."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from prior_setup import draws, set_up
from textreg.backbone import Backbone
from textreg.batch import Batch, losses
from textreg.config import OutputPreservation, Run
from textreg.method.denoising import loss_per_concept
from textreg.method.text_projections import TextProjections
from textreg.prompts import instance_templates
from textreg.randomness import Draws
from tiny_run import tiny_run


@pytest.fixture
def run(tiny_base: Path, cat_pictures: Path, dog_pictures: Path) -> Run:
    return tiny_run(
        tiny_base,
        Path(),
        cat_pictures,
        dog_pictures,
        prior="output-preservation",
        output_preservation=OutputPreservation(weight=0.4),
    )


def an_instance(concepts: int, samples: int) -> Batch:
    """Random latents; the text is the prior's to choose."""
    random = torch.Generator().manual_seed(3)
    x_t = torch.randn(concepts, samples, 4, 8, 8, generator=random, dtype=torch.float64)
    t = torch.randint(1000, (concepts, samples), generator=random)
    return Batch(x_t=x_t, t=t, features=torch.zeros(()), wanted=torch.zeros(()))


def term(batch: Batch, projections: TextProjections, backbone: Backbone) -> Tensor:
    (value,) = losses([batch], projections, backbone)
    return value


def test_of_a_zero_edit_it_is_zero_and_so_is_its_gradient(backbone64: Backbone, run: Run) -> None:
    prior, projections, _ = set_up(run, backbone64, size=0)
    assert projections.edit is not None
    with torch.no_grad():
        projections.edit.down.fill_(0.1)
    (batch,) = prior.batches(draws(0, 1, samples=2), an_instance(2, 2)).values()
    value = term(batch, projections, backbone64)
    value.sum().backward()
    assert value.tolist() == pytest.approx([0, 0], abs=1e-28)
    assert projections.edit.up.grad is not None
    assert float(projections.edit.up.grad.abs().max()) < 1e-14


def test_it_compares_both_models_on_the_instances_noise_and_the_classes_words(
    backbone64: Backbone, run: Run
) -> None:
    prior, projections, texts = set_up(run, backbone64, size=0.1)
    own, instance = draws(0, 1, samples=2), an_instance(2, 2)
    (name, batch), *others = prior.batches(own, instance).items()
    assert (name, batch.weight, others) == ("output_preservation", 0.4, [])
    value = term(batch, projections, backbone64)
    for n, t in enumerate(texts):
        pool = instance_templates(t.concept)
        errors: list[float] = []
        for s, draw in enumerate(own[n]):
            template = pool[draw.index("template", len(pool))]
            c = t.features([template.replace("{}", t.concept.noun)], None)
            edit = projections.edit
            assert edit is not None
            single = backbone64.projections.new_edit(run.tuning.rank)
            single.load_factors(0, edit.factors(n))
            x_t, step = instance.x_t[n, s, None], instance.t[n, s, None]
            both = [
                backbone64.denoiser(x_t, step, maps(c[None]))
                for maps in (backbone64.projections.with_edit(single), backbone64.projections)
            ]
            errors.append(loss_per_concept(*both, 1).item())
        assert value[n].item() == pytest.approx(sum(errors) / len(errors), rel=1e-10)
        assert value[n] > 1e-10


def test_its_gradient_is_that_of_finite_differences(backbone64: Backbone, run: Run) -> None:
    prior, projections, _ = set_up(run, backbone64, size=0.1)
    edit = projections.edit
    assert edit is not None
    (batch,) = prior.batches([[Draws("a")], [Draws("b")]], an_instance(2, 1)).values()
    term(batch, projections, backbone64).sum().backward()
    random = torch.Generator().manual_seed(9)
    step = 1e-5
    for parameter in edit.parameters():
        assert parameter.grad is not None
        way = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        ends: list[float] = []
        with torch.no_grad():
            for sign in (1, -2, 1):
                parameter.add_(sign * step * way)
                ends.append(term(batch, projections, backbone64).sum().item())
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float((parameter.grad * way).sum()) == pytest.approx(slope, rel=1e-6)
