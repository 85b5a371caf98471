"""Ways to keep what the model knew, one small file each behind one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.method.text_projections import TextProjections
from textreg.randomness import Draws


@dataclass(frozen=True, kw_only=True, slots=True)
class Penalty:
    """One term of the loss: its weight and its value of each concept, [concepts]."""

    weight: float
    value: Tensor


class Prior(Protocol):
    """What a prior may do in stage 2; each concept's randomness comes from its own draws."""

    def prepare(self, texts: Sequence[ConceptTexts], rank: int) -> None:
        """Refuse what cannot work, before anything trains.

        Raises:
            UserError: what to change.
        """
        ...

    def setup(
        self, texts: Sequence[ConceptTexts], vectors: Tensor, projections: TextProjections
    ) -> None:
        """Compute once what stays constant while the edit trains."""
        ...

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        """Terms added to the denoising loss, by name; draws[n][s] is sample s of concept n."""
        ...

    def after_step(self) -> None:
        """Move the edit back to where it may be."""
        ...


def prior_of(run: Run) -> Prior:
    """The prior that a run names."""
    from textreg.priors.none import NoPrior
    from textreg.priors.textreg import TextRegPrior

    return {"none": NoPrior, "textreg": TextRegPrior}[run.prior](run)
