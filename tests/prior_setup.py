"""A run's prior on a random edit, and the draws of a step."""

from pathlib import Path

import torch
from torch import Tensor

from textreg.backbone import Backbone
from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.method.text_projections import TextProjections
from textreg.priors import Prior, prior_of
from textreg.randomness import Draws


def set_up(
    run: Run, backbone: Backbone, *, size: float = 1.0, folder: Path | None = None
) -> tuple[Prior, TextProjections, list[ConceptTexts]]:
    """The run's prior, on an edit of normal numbers of this size; class pictures in `folder`."""
    texts = [ConceptTexts.of(c, backbone) for c in run.concepts]
    edit = backbone.projections.new_edit(run.tuning.rank, len(texts))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in edit.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=random))
    projections = backbone.projections.with_edit(edit)
    prior = prior_of(run)
    prior.check(texts)
    if folder is not None:
        list(prior.collect(texts, folder))
    prior.setup(texts, words(len(texts)), projections)
    return prior, projections, texts


def words(count: int) -> Tensor:
    """A vector for each concept's identifier."""
    return torch.randn(count, 64, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def draws(*keys: int, samples: int = 1) -> list[list[Draws]]:
    """A step's draws, one concept a key."""
    return [[Draws("test", key, sample) for sample in range(samples)] for key in keys]
