"""Context: hold the words around the concept, keys and values, and leave the concept free."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.method.text_features import context_rows
from textreg.method.text_projections import TextProjections
from textreg.method.text_regularizer import context_loss
from textreg.priors import Penalty, Prior
from textreg.prompt_pools import PromptPools
from textreg.prompts import edit_templates
from textreg.randomness import Draws


class Context(Prior):
    """L = L_denoise + w mean over K, V of ||dW c_j|| over the context's rows j (METHOD 9).

    The prompts are our own training list of edit prompts, which no evaluation uses, masked as
    often as the instance's; one a sample. Their features are constant in stage 2.
    """

    def __init__(self, run: Run):
        self._weight = run.context.weight
        self._mask_ratio = run.mask.ratio if run.mask.in_tuning else 0.0

    def setup(
        self, texts: Sequence[ConceptTexts], vectors: Tensor, projections: TextProjections
    ) -> None:
        """Encode the prompts with the learned words; of their rows the context's are kept."""
        self._projections = projections
        if not self._weight:
            return
        prompts = [t.fill(edit_templates(t.concept, "training")) for t in texts]
        rows = [context_rows(t.tokens(pool)) for t, pool in zip(texts, prompts, strict=True)]
        self._pools = PromptPools(
            texts, prompts, vectors, masked=self._mask_ratio > 0, kept_rows=rows
        )

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        """The context's term; with weight 0 none."""
        if not self._weight:
            return {}
        features = self._pools.rows(*self._pools.drawn(draws, "context", self._mask_ratio)).tokens
        value = context_loss(self._projections, features)
        return {"context": Penalty(weight=self._weight, value=value)}
