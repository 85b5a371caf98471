"""Moving averages of what trains, of N concepts at once: each counts its own steps (EMA)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from textreg.concept_rows import along


class Averages:
    """Exponential moving averages of stacked parameters; the first dimension is the concept.

    a <- d_k a + (1 - d_k) p after a step that holds, with d_k = min(decay, (1 + k) / (10 + k)) for
    the k steps before it, so that the first values do not stay for 1 / (1 - decay) steps.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float):
        self._parameters, self._decay = dict(parameters), decay
        self.values = {name: p.detach().clone() for name, p in parameters.items()}
        """The averages, by the parameters' names."""
        first = next(iter(self.values.values()))
        self._steps = torch.zeros(len(first), dtype=torch.float64, device=first.device)

    @torch.no_grad()
    def update(self, holds: Tensor) -> None:
        """Take one step in.

        Args:
            holds: [concepts], whether the concept's step was taken; an average that takes no step
                in stays as it is, count and all, whatever its parameters hold.
        """
        share = 1 - ((1 + self._steps) / (10 + self._steps)).clamp(max=self._decay)
        for name, average in self.values.items():
            step = along(share.to(average.dtype), average) * (self._parameters[name] - average)
            average.copy_(torch.where(along(holds, average), average + step, average))
        self._steps += holds

    def state(self) -> dict[str, Tensor]:
        """Named tensors for a checkpoint."""
        named = {f"average.{name}": average for name, average in self.values.items()}
        return named | {"average_steps": self._steps}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the averages to a checkpoint's."""
        for name, own in self.state().items():
            own.copy_(tensors[name])
