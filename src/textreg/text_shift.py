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
        weight = texts[0].backbone.projections.weight
        pools = [drift_pools(t.concept) for t in texts]
        self._grams: dict[str, Tensor] = {}
        self._base: dict[str, Tensor] = {}
        for name in pools[0]:
            prompts = [pool[name] for pool in pools]
            features = [
                t.features(pool, None)[None] for t, pool in zip(texts, prompts, strict=True)
            ]
            whole = torch.cat([gram(c) for c in features])
            self._base[name] = torch.einsum("od,nde,oe->n", weight, whole, weight).sqrt()
            gates = [t.gate(pool, edited) for t, pool in zip(texts, prompts, strict=True)]
            seen = [
                c if g is None else c * g[None, ..., None].to(c.device)
                for c, g in zip(features, gates, strict=True)
            ]
            self._grams[name] = torch.cat([gram(c) for c in seen])

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
