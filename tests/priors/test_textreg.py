"""TextReg over a real pool: exact expectations, hard mode's exactness and refusal (METHOD 4-6)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prior_setup import draws, set_up, words
from textreg.backbone import Backbone
from textreg.concept_texts import ConceptTexts
from textreg.config import Mask, TextReg, Tuning
from textreg.errors import UserError
from textreg.method.text_features import TextFeatures
from textreg.method.text_projections import TextProjections
from textreg.method.text_regularizer import class_prior_loss, edit_prior_loss
from textreg.prompts import class_prompts, edit_templates
from textreg.sampling import PictureModel, sample
from textreg.trainer import trainings
from tiny_run import tiny_run, train

HARD = TextReg(hard=True, class_templates="one")


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_squared_form_is_the_expectation_over_prompts_and_mask_draws(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, ratio: float
) -> None:
    settings = TextReg(form="squared", class_weight=0.7, edit_weight=0.3)
    run = tiny_run(tiny_base, Path(), cat_pictures, mask=Mask(ratio=ratio), textreg=settings)
    prior, projections, (texts,) = set_up(run, backbone64)
    prompts = class_prompts(texts.concept, settings)
    assert prompts[-1] == ""
    pool = texts.features(prompts, None)
    of_class = sum(_squares(projections, c, 1).mean() for c in pool) / len(pool)
    edits = texts.fill(edit_templates(texts.concept, settings.edit_prompts))
    assert len(edits) > 27
    of_edits = torch.zeros((), dtype=torch.float64)
    for masked, share in ((True, ratio), (False, 1 - ratio)):
        pool = texts.features(edits, words(1)[0], masked=masked)
        of_edits += share * sum(_squares(projections, c, 2).mean() for c in pool) / len(pool)
    terms = prior.penalties(draws(0))
    assert {name: term.weight for name, term in terms.items()} == {
        "class_prior": 0.7,
        "edit_prior": 0.3,
    }
    torch.testing.assert_close(terms["class_prior"].value, of_class[None], rtol=1e-11, atol=0)
    torch.testing.assert_close(terms["edit_prior"].value, of_edits[None], rtol=1e-11, atol=0)


def _squares(projections: TextProjections, features: Tensor, every: int) -> Tensor:
    """||dW_m c||^2 of every projection, or of the keys."""
    assert projections.edit is not None
    changes = projections.edit(features[None, None])[::every]
    return torch.stack([change.square().sum() for change in changes])


def test_norm_form_takes_one_random_prompt_of_each_kind(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, dog_pictures: Path
) -> None:
    """Each concept's choice follows its own draws; all prompts and both mask states are chosen."""
    run = tiny_run(tiny_base, Path(), cat_pictures, dog_pictures, mask=Mask(ratio=0.5))
    prior, projections, texts = set_up(run, backbone64)
    pools = [t.features(class_prompts(t.concept, run.textreg), None) for t in texts]
    edits = [t.fill(edit_templates(t.concept, run.textreg.edit_prompts)) for t in texts]
    seen: set[tuple[int, bool]] = set()
    for key in range(12):
        own = draws(key, 1000 - key)
        terms = prior.penalties(own)
        chosen = [
            pool[d.index("class prompt", len(pool))] for pool, (d,) in zip(pools, own, strict=True)
        ]
        wanted = class_prior_loss(projections, torch.stack(chosen)[:, None])
        torch.testing.assert_close(terms["class_prior"].value, wanted)
        chosen = []
        for t, prompts, vector, (d,) in zip(texts, edits, words(2), own, strict=True):
            index, masked = d.index("edit prompt", len(prompts)), d.uniform("edit mask") < 0.5
            seen.add((index, masked))
            chosen.append(t.features([prompts[index]], vector, masked=masked)[0])
        wanted = edit_prior_loss(projections, torch.stack(chosen)[:, None])
        torch.testing.assert_close(terms["edit_prior"].value, wanted)
    assert len({index for index, _ in seen}) > 10
    assert {masked for _, masked in seen} == {False, True}


@pytest.mark.parametrize(
    ("settings", "terms"),
    [
        (TextReg(), {"class_prior", "edit_prior"}),
        (TextReg(class_weight=0), {"edit_prior"}),
        (TextReg(edit_weight=0), {"class_prior"}),
        (HARD, {"edit_prior"}),
        (replace(HARD, edit_weight=0), set()),
    ],
)
def test_which_terms_there_are(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, settings: TextReg, terms: set[str]
) -> None:
    run = tiny_run(tiny_base, Path(), cat_pictures, textreg=settings)
    prior, _, _ = set_up(run, backbone64)
    assert set(prior.penalties(draws(0))) == terms


def test_edit_prompts_are_encoded_where_their_term_has_a_weight(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = ConceptTexts.encoded
    with_word: list[Sequence[str]] = []

    def watched(
        texts: ConceptTexts, prompts: Sequence[str], vector: Tensor | None, *, masked: bool = False
    ) -> TextFeatures:
        if vector is not None:
            with_word.append(prompts)
        return encoded(texts, prompts, vector, masked=masked)

    monkeypatch.setattr(ConceptTexts, "encoded", watched)
    for settings, count in ((HARD, 2), (replace(HARD, edit_weight=0), 0)):
        with_word.clear()
        set_up(tiny_run(tiny_base, Path(), cat_pictures, textreg=settings), backbone64)
        assert len(with_word) == count  # masked and not


def test_no_prior_has_no_terms(backbone64: Backbone, tiny_base: Path, cat_pictures: Path) -> None:
    prior, projections, _ = set_up(
        tiny_run(tiny_base, Path(), cat_pictures, prior="none"), backbone64
    )
    assert projections.edit is not None
    before = projections.edit.down.clone()
    prior.after_step()
    assert prior.penalties(draws(0)) == {}
    assert torch.equal(projections.edit.down, before)


@pytest.fixture(scope="module")
def hard(
    backbone64: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> PictureModel:
    """A model trained in hard mode, in float64, at a rate that moves it far."""
    out = tmp_path_factory.mktemp("hard")
    run = tiny_run(
        tiny_base,
        out / "run",
        cat_pictures,
        textreg=HARD,
        dtype="fp64",
        tuning=Tuning(steps=4, rank=4, learning_rate=0.05),
    )
    return PictureModel(backbone64, train(run, backbone64).adapters()[0])


@pytest.mark.parametrize("seed", range(3))
def test_hard_mode_predicts_what_the_base_predicts(
    hard: PictureModel, backbone64: Backbone, seed: int
) -> None:
    """METHOD 6: equal for every x_t and t, on every prompt that is pinned."""
    base = PictureModel(backbone64)
    random = torch.Generator().manual_seed(seed)
    x_t = torch.randn(1, 4, 8, 8, generator=random, dtype=torch.float64) * 10**seed
    t = torch.randint(1000, (1,), generator=random)

    def moved(prompt: str) -> float:
        given = hard.predict(x_t, t, hard.conditioning([prompt]))
        plain = base.predict(x_t, t, base.conditioning([prompt.replace("<krk1> ", "")]))
        return float((given - plain).norm() / plain.norm())

    assert moved("a photo of a cat") < 1e-12
    assert moved("") < 1e-12
    assert moved("a photo of a <krk1> cat") > 1e-4
    assert moved("a dog in the photo") > 1e-5


def test_hard_mode_draws_the_bases_class_pictures(hard: PictureModel, backbone64: Backbone) -> None:
    def latents(model: PictureModel, prompt: str) -> list[bytes]:
        pictures = sample(model, [prompt], seeds=[7], steps=4, guidance=7.5, resolution=16)
        return [picture.image.tobytes() for picture in pictures]

    base = PictureModel(backbone64)
    assert latents(hard, "a photo of a cat") == latents(base, "a photo of a cat")
    assert latents(hard, "a dog in the photo") != latents(base, "a dog in the photo")


def test_hard_mode_that_leaves_too_little_is_refused_before_training(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(tiny_base, tmp_path / "run", cat_pictures, textreg=TextReg(hard=True))
    with pytest.raises(UserError, match=r"pins \d+ of this base's 64 .* --rank 2.*lower --rank"):
        next(trainings(run, backbone64))
    assert not (tmp_path / "run" / "run.yaml").exists()
