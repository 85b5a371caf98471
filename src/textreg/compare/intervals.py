"""Bootstrap over concepts and, within each, over seeds: how far other ones may lead."""

from __future__ import annotations

import torch
from torch import Tensor

from textreg.evaluate.intervals import DRAWS
from textreg.randomness import generator


def cell_resamples(concepts: int, seeds: int, *key: int | str, draws: int = DRAWS) -> Tensor:
    """Weights of two-stage resamples: concepts with replacement, then seeds within each of them.

    A level with a single member is not resampled: of it nothing is known.

    Returns:
        [1 + draws, concepts * seeds] float64, cells by concept and then seed; the first row is all
        ones, the sample itself.

    Source: Davison and Hinkley, Bootstrap Methods and Their Application, section 3.8.
    """
    source = generator(*key, "cells", concepts, seeds)
    of_concept = torch.randint(concepts, (draws, concepts, 1), generator=source)
    of_seed = torch.randint(seeds, (draws, concepts, seeds), generator=source)
    drawn = (of_concept * seeds + of_seed).flatten(1)
    weights = torch.zeros(draws, concepts * seeds, dtype=torch.float64)
    weights.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    return torch.cat([torch.ones(1, concepts * seeds, dtype=torch.float64), weights])
