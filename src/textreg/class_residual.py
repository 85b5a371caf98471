"""How much an edit still does to the class prompts: 0 is what hard mode promises (METHOD 5)."""

from __future__ import annotations

import torch

from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.base_shape import fitted
from textreg.concept_texts import ConceptTexts
from textreg.config import Concept, TextReg
from textreg.prompts import class_prompts


@torch.no_grad()
def class_residual(
    adapter: Adapter, concept: Concept, settings: TextReg, backbone: Backbone
) -> float:
    """||dW c|| / ||W c|| over all keys and values and all pinned prompts, in float64.

    Args:
        adapter: the concept.
        concept: whose class prompts are pinned.
        settings: which of them.
        backbone: the base.
    """
    texts = ConceptTexts.of(concept, backbone)
    features = texts.features(class_prompts(concept, settings), None).double().flatten(0, 1).cpu()
    factors = fitted(adapter, backbone.projections, backbone.source)
    scale = adapter.alpha / adapter.rank
    moved = sum(
        float((scale * (features @ down.double().T) @ up.double().T).square().sum())
        for down, up in factors.values()
    )
    base = features @ backbone.projections.weight.double().cpu().T
    return (moved / float(base.square().sum())) ** 0.5
