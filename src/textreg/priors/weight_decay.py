"""Weight decay: keep the edit small, whatever the text (METHOD 9)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.method.text_projections import TextProjections
from textreg.method.text_regularizer import factor_energy, weight_energy
from textreg.priors import Penalty, Prior
from textreg.randomness import Draws


class WeightDecay(Prior):
    """L = L_denoise + w sum_m ||s B_m A_m||^2, which is TextReg with G = I.

    The factor form, w sum_m (||A_m||^2 + ||B_m||^2), is that of 2505.19519.
    """

    def __init__(self, run: Run):
        self._weight = run.weight_decay.weight
        self._energy = {"product": weight_energy, "factors": factor_energy}[run.weight_decay.form]

    def setup(
        self, texts: Sequence[ConceptTexts], vectors: Tensor, projections: TextProjections
    ) -> None:
        """Keep hold of the edit."""
        assert projections.edit is not None
        self._edit = projections.edit

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        """The sum over all keys and values."""
        return {"weight_decay": Penalty(weight=self._weight, value=self._energy(self._edit).sum(1))}
