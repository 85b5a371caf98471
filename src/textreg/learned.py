"""What training has learned of a concept so far, as an adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textreg.adapter import Adapter

if TYPE_CHECKING:
    from textreg.edits import Edits
    from textreg.training import Training


def adapter_of(training: Training, n: int, edits: Edits) -> Adapter:
    """The concept at this place of `active` as it stands now, with its part of these edits."""
    concept, run = training.active[n], training.run
    factors = edits.factors(n, training.projections.names)
    return Adapter(
        identifier=concept.identifier,
        noun=concept.noun,
        learnable_property=concept.learnable_property,
        vector=training.inversion.vectors[n].detach().cpu().clone(),
        num_vectors=run.inversion.vectors,
        factors={
            name: (down.cpu().clone(), up.cpu().clone()) for name, (down, up) in factors.items()
        },
        alpha=float(run.tuning.rank),
        second_width=training.backbone.second_width,
        edited_tokens=training.prior.edited_tokens,
        digest=training.digest,
    )
