"""The context term against a loop over words read back from the tokens."""

from pathlib import Path

import pytest
import torch

from prior_setup import draws, set_up, words
from textreg.backbone import Backbone
from textreg.config import Context, Inversion, Mask
from textreg.method.text_features import context_rows
from textreg.prompts import templates
from tiny_run import tiny_run


def test_it_is_the_norm_over_rows_that_are_neither_identifier_nor_noun(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, dog_pictures: Path
) -> None:
    run = tiny_run(
        tiny_base,
        Path(),
        cat_pictures,
        dog_pictures,
        prior="context",
        context=Context(weight=0.3),
        mask=Mask(ratio=0.5),
    )
    prior, projections, texts = set_up(run, backbone64)
    edit = projections.edit
    assert edit is not None
    prompts = templates("edit_training")
    seen: set[bool] = set()
    for key in range(5):
        own = draws(key, 100 + key, samples=2)
        term = prior.penalties(own)["context"]
        assert term.weight == 0.3
        for n, t in enumerate(texts):
            sizes: list[float] = []
            for draw in own[n]:
                prompt = prompts[draw.index("context prompt", len(prompts))]
                masked = draw.uniform("context mask") < 0.5
                seen.add(masked)
                filled = t.fill([prompt])
                c = t.features(filled, words(2)[n], masked=masked)[0]
                tokens = t.tokenizer.convert_ids_to_tokens(t.tokens(filled).ids[0])
                place = tokens.index(t.concept.identifier)
                assert tokens[place + 1] == f"{t.concept.noun}</w>"
                rows = [j for j in range(len(tokens)) if j not in (place, place + 1)]
                for down, up in edit.factors(n):
                    change = torch.stack([up @ (down @ c[j]) for j in rows])
                    sizes.append(float(change.square().sum().sqrt()))
            assert term.value[n].item() == pytest.approx(sum(sizes) / len(sizes), rel=1e-12)
    assert seen == {False, True}


def test_without_the_noun_in_the_prompts_only_the_identifier_is_left_out(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path
) -> None:
    from textreg.concept_texts import ConceptTexts

    run = tiny_run(tiny_base, Path(), cat_pictures, inversion=Inversion(initialise_with_noun=True))
    texts = ConceptTexts.of(run.concepts[0], backbone64, noun_in_prompts=False)
    tokens = texts.tokens(texts.fill(["a photo of a {}", "a {} in the dark"]))
    assert torch.equal(context_rows(tokens), ~tokens.is_identifier)
