"""How far an edit moves keys and values of the drift prompts: the definition, and nothing twice."""

from pathlib import Path
from typing import Any

import pytest
import torch

from textreg import text_shift
from textreg.backbone import Backbone
from textreg.concept_texts import ConceptTexts
from textreg.config import Concept
from textreg.method.text_projections import LowRankEdit
from textreg.text_shift import TextShift

NOUNS = ("cat", "dog", "cat")


def texts_of(backbone: Backbone) -> list[ConceptTexts]:
    return [
        ConceptTexts.of(Concept(images=Path(f"c{n}"), noun=noun, identifier=f"<krk{n}>"), backbone)
        for n, noun in enumerate(NOUNS)
    ]


def some_edit(backbone: Backbone) -> LowRankEdit:
    edit = backbone.projections.new_edit(2, len(NOUNS))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in edit.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    return edit


def test_it_is_a_share_of_all_keys_and_values(backbone64: Backbone) -> None:
    """Against dW c and W c of every prompt and projection, in loops."""
    texts, edit = texts_of(backbone64), some_edit(backbone64)
    measured = TextShift(texts).measure(edit)
    for n, t in enumerate(texts):
        for name, pool in text_shift.drift_pools(t.concept).items():
            moved = whole = 0.0
            for prompt in pool:
                features = t.features([prompt], None)
                whole += float((features @ backbone64.projections.weight.mT).square().sum())
                shifts = edit(features.expand(len(NOUNS), 1, -1, -1))
                moved += sum(float(shift[n].detach().square().sum()) for shift in shifts)
            assert measured[n][name] == pytest.approx((moved / whole) ** 0.5, rel=1e-10)


def test_a_gated_edit_moves_none_of_them(backbone: Backbone) -> None:
    for shift in TextShift(texts_of(backbone), "identifier").measure(some_edit(backbone)):
        assert set(shift.values()) == {0.0}


def test_a_prompt_is_read_once_whoever_asks(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And alone, so that a concept's shift has the same bits in any company."""
    read: list[int] = []
    encode = Backbone.encode

    def watched(backbone: Backbone, tokens: Any, *given: Any) -> Any:
        read.append(len(tokens.ids))
        return encode(backbone, tokens, *given)

    monkeypatch.setattr(Backbone, "encode", watched)
    backbone.plain.clear()
    texts, edit = texts_of(backbone), some_edit(backbone)
    prompts = {
        p for t in texts for pool in text_shift.drift_pools(t.concept).values() for p in pool
    }
    together = TextShift(texts)
    assert read == [1] * len(prompts)
    TextShift(texts[1:])
    assert len(read) == len(prompts), "also when one has left the batch"
    whole = [pool.clone() for pool in together._grams.values()]
    for n, t in enumerate(texts):
        backbone.plain.clear()
        for pool, alone in zip(whole, TextShift([t])._grams.values(), strict=True):
            assert torch.equal(pool[n : n + 1], alone)
    assert together.measure(edit)[0] != together.measure(edit)[1]
