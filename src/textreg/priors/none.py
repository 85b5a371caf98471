"""No prior preservation: the denoising loss alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.method.text_projections import TextProjections
from textreg.priors import Penalty
from textreg.randomness import Draws


class NoPrior:
    """Adds nothing, holds nothing."""

    def __init__(self, run: Run):
        pass

    def prepare(self, texts: Sequence[ConceptTexts], rank: int) -> None:
        """Nothing can go wrong."""

    def setup(
        self, texts: Sequence[ConceptTexts], vectors: Tensor, projections: TextProjections
    ) -> None:
        """Nothing to prepare."""

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        """No terms."""
        return {}

    def after_step(self) -> None:
        """Leave the edit as it is."""
