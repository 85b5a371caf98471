"""Which prompts, which rate, which first vector."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from textreg.backbone import Backbone
from textreg.concept_texts import ConceptTexts
from textreg.config import Inversion, Mask, Run, Schedule, Tuning
from textreg.errors import UserError
from textreg.priors import prior_of
from textreg.prompts import instance_templates
from textreg.randomness import Draws
from textreg.stages import InversionStage, TuningStage, learning_rate
from tiny_run import tiny_run


def stages(run: Run, backbone: Backbone) -> tuple[InversionStage, TuningStage]:
    """Both stages with the same vectors."""
    with_noun = not run.inversion.initialise_with_noun
    texts = [ConceptTexts.of(c, backbone, noun_in_prompts=with_noun) for c in run.concepts]
    inversion = InversionStage(run, texts)
    edit = backbone.projections.new_edit(run.tuning.rank, len(texts))
    prior = prior_of(run)
    prior.check(texts)
    vectors = inversion.vectors.detach()
    return inversion, TuningStage(run, texts, vectors, backbone.projections.with_edit(edit), prior)


def draws(concepts: int, samples: int = 6) -> list[list[Draws]]:
    return [[Draws("test", n, s) for s in range(samples)] for n in range(concepts)]


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_both_stages_read_the_same_prompts_masked_per_sample(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, dog_pictures: Path, ratio: float
) -> None:
    run = tiny_run(tiny_base, Path(), cat_pictures, dog_pictures, mask=Mask(ratio=ratio))
    inversion, tuning = stages(run, backbone64)
    given = draws(2)
    features = inversion.features(given).tokens.detach()
    states: set[bool] = set()
    for n, concept in enumerate(run.concepts):
        texts = ConceptTexts.of(concept, backbone64)
        prompts = texts.fill(instance_templates(concept))
        assert f"a photo of a {concept.identifier} {concept.noun}" in prompts
        for s, draw in enumerate(given[n]):
            prompt = prompts[draw.index("template", len(prompts))]
            masked = draw.uniform("mask") < ratio
            states.add(masked)
            wanted = texts.features([prompt], inversion.vectors[n].detach(), masked=masked)[0]
            torch.testing.assert_close(features[n, s], wanted, rtol=0, atol=1e-13)
    assert states == {0.0: {False}, 0.5: {False, True}, 1.0: {True}}[ratio]
    torch.testing.assert_close(tuning.features(given).tokens, features, rtol=0, atol=1e-13)


def test_mask_of_stage_two_can_be_switched_off(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path
) -> None:
    run = tiny_run(tiny_base, Path(), cat_pictures, mask=Mask(ratio=1.0, in_tuning=False))
    plain = tiny_run(tiny_base, Path(), cat_pictures, mask=Mask(ratio=0.0))
    given = draws(1)
    unmasked = stages(plain, backbone64)[1].features(given).tokens
    torch.testing.assert_close(stages(run, backbone64)[1].features(given).tokens, unmasked)
    assert not torch.equal(stages(run, backbone64)[0].features(given).tokens, unmasked)


def test_first_vector_is_a_row_of_the_table(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path
) -> None:
    table = backbone.text_encoder.get_input_embeddings().weight
    ktn, cat = backbone.tokenizer.encode("ktn cat", add_special_tokens=False)
    run = tiny_run(tiny_base, Path(), cat_pictures)
    assert torch.equal(stages(run, backbone)[0].vectors[0], table[ktn])
    noun = replace(run, inversion=Inversion(initialise_with_noun=True))
    stage = stages(noun, backbone)[0]
    assert torch.equal(stage.vectors[0], table[cat])
    assert not any(bool(pool.can_mask.any()) for pool in stage._pools)


def test_first_vector_from_a_file(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    vector, path = torch.randn(1, 64), tmp_path / "learned_embeds.safetensors"
    save_file({"<other>": vector}, path)
    run = tiny_run(tiny_base, Path(), cat_pictures, inversion=Inversion(embedding=path))
    assert torch.equal(stages(run, backbone)[0].vectors, vector)
    save_file({"<other>": torch.randn(1, 32)}, path)
    with pytest.raises(UserError, match="32 numbers, this base reads 64"):
        stages(run, backbone)


def test_an_initial_token_the_base_does_not_know_is_the_users_error(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path
) -> None:
    run = tiny_run(tiny_base, Path(), cat_pictures, inversion=Inversion(initial_token="zebra"))
    with pytest.raises(UserError, match="'zebra' is not in this base's vocabulary"):
        stages(run, backbone)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 1, 4, 10])
def test_learning_rate_is_the_formula(schedule: Schedule, warmup: int) -> None:
    settings = Tuning(steps=10, learning_rate=0.3, warmup_steps=warmup, schedule=schedule)
    for step in range(10):
        done = (step - warmup) / max(1, 10 - warmup)
        wanted = {
            "constant": 0.3,
            "linear": 0.3 * (1 - done),
            "cosine": 0.15 * (1 + math.cos(math.pi * done)),
        }[schedule]
        if step < warmup:
            wanted = 0.3 * (step + 1) / warmup
        assert learning_rate(settings, step) == pytest.approx(wanted, rel=1e-12)


def test_learning_rates_by_hand() -> None:
    """Warm-up over two steps, then the schedule; cos(0, 45, 90, 135 degrees)."""
    for schedule, wanted in (
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 1, 0.853553, 0.5, 0.146447]),
    ):
        settings = Tuning(steps=6, learning_rate=1.0, warmup_steps=2, schedule=schedule)
        rates = [learning_rate(settings, step) for step in range(6)]
        assert rates == pytest.approx(wanted, abs=1e-6)


def test_norm_is_pulled_back_after_each_step_unless_switched_off(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path
) -> None:
    for pull in (True, False):
        settings = Inversion(norm_pull=pull)
        run = tiny_run(tiny_base, Path(), cat_pictures, inversion=settings)
        stage = stages(run, backbone64)[0]
        first = stage.vectors.detach().norm()
        stage.vectors.data.mul_(2)
        stage.after_step(0.004)  # lam = .4
        norm = float(stage.vectors.detach().norm() / first)
        assert norm == pytest.approx(2 + 0.4 * (1 - 2) if pull else 2)
