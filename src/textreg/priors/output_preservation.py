"""Output preservation: on the class's words, predict what the base predicts (METHOD 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from textreg.batch import Batch, predict
from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.method.text_projections import TextProjections
from textreg.priors import Prior
from textreg.prompt_pools import PromptPools
from textreg.randomness import Draws


class OutputPreservation(Prior):
    """L = L_denoise + w MSE(eps_th, eps_0) on the same x_t, "<krk1> cat" replaced by "cat"."""

    anywhere = True
    samples = 2

    def __init__(self, run: Run):
        self._weight = run.output_preservation.weight

    def setup(
        self, texts: Sequence[ConceptTexts], vectors: Tensor, projections: TextProjections
    ) -> None:
        """Encode the instance templates with the noun alone."""
        self._backbone = texts[0].backbone
        self._prompts = [t.instance for t in texts]
        prompts = [[p.replace("{}", t.concept.noun) for p in t.instance.templates] for t in texts]
        self._base = self._pools = PromptPools(texts, prompts, None)
        if projections.encoder is not None:
            self._pools = PromptPools(texts, prompts, None, projections.encoder)

    def batches(self, draws: Sequence[Sequence[Draws]], instance: Batch) -> dict[str, Batch]:
        """The instance's x_t under the class's words; what is wanted is the base's prediction."""
        # The same stream as the instance's template, so the two prompts differ in the word alone.
        chosen = [own.rows(samples) for own, samples in zip(self._prompts, draws, strict=True)]
        plain, base = self._base.rows(chosen), self._backbone.projections
        with torch.no_grad():
            wanted = predict(self._backbone, base, instance.x_t, instance.t, plain)
        # All of the picture counts, whatever the mask of its subject.
        own = replace(
            instance,
            features=self._pools.rows(chosen) if self._pools is not self._base else plain,
            wanted=wanted,
            counts=None,
            shares=None,
            weight=self._weight,
        )
        return {"output_preservation": own}
