"""Text shift: how far the edit moves keys and values, by prompt pool, without a single picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from textreg.concept_texts import ConceptTexts
from textreg.method.text_projections import LowRankEdit
from textreg.method.text_regularizer import edit_energy, gram
from textreg.method.token_gate import EditedTokens
from textreg.prompts import drift_pools


class TextShift:
    """||dW c|| / ||W c|| over all keys and values and all prompts of a pool (METHOD 10).

    Each pool is one pooled Gram matrix, so a measurement costs a few products of the size r x d.
    """

    def __init__(self, texts: Sequence[ConceptTexts], edited: EditedTokens = "all"):
        pools = [drift_pools(t.concept) for t in texts]
        self._grams: dict[str, Tensor] = {}
        self._base: dict[str, Tensor] = {}
        for name in pools[0]:
            each = [_pooled(t, pool[name], edited) for t, pool in zip(texts, pools, strict=True)]
            self._grams[name] = torch.cat([whole for whole, _ in each])
            self._base[name] = torch.stack([base for _, base in each])

    @torch.no_grad()
    def measure(self, edit: LowRankEdit) -> list[dict[str, float]]:
        """The shift of each concept, by pool; 0 is the base itself."""
        shifts = {
            # Rounding can leave a zero energy slightly negative.
            name: (edit_energy(edit, g).sum(1).clamp(min=0).sqrt() / self._base[name]).tolist()
            for name, g in self._grams.items()
        }
        count = len(next(iter(shifts.values())))
        return [{name: values[n] for name, values in shifts.items()} for n in range(count)]


def _pooled(
    texts: ConceptTexts, prompts: Sequence[str], edited: EditedTokens
) -> tuple[Tensor, Tensor]:
    """Gram matrix of what the edit acts on in a pool, [1, d, d], and root mean ||W c||^2."""
    read = [_read(texts, prompt) for prompt in prompts]
    features = torch.stack([c for c, _ in read])
    gate = texts.gate(prompts, edited)
    if gate is not None:
        features = features * gate[..., None].to(features.device)
    return gram(features[None]), torch.stack([energy for _, energy in read]).mean().sqrt()


def _read(texts: ConceptTexts, prompt: str) -> tuple[Tensor, Tensor]:
    """Features of a prompt without an identifier, [T, d], and ||W c||^2 over keys and values.

    They are the base's, whoever asks: read once, and alone, so that no company changes a bit.
    """
    known = texts.backbone.plain
    if prompt not in known:
        features = texts.features([prompt], None)[0]
        keys_values = features @ texts.backbone.projections.weight.mT
        known[prompt] = features, keys_values.square().sum()
    return known[prompt]
