"""AdamW of N concepts at once: each has its own learning rate and its own count of steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from textreg.concept_rows import along
from textreg.config import Optimizer
from textreg.quarantine import undo


class ConceptAdamW:
    """N independent AdamWs in stacked tensors; the first dimension of each is the concept.

    torch's own keeps one count a tensor, so that a concept that skips a step could not keep its
    bias correction (Loshchilov and Hutter, ICLR 2019).
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        settings: Optimizer,
        shares: Mapping[str, float] | None = None,
    ):
        """Set up; `shares`: what the rate of some parameters is multiplied by, by name."""
        self.parameters, self._settings = dict(parameters), settings
        self._shares = dict(shares or {})
        self._state = {
            name: {
                "step": torch.zeros(len(p), dtype=torch.float64, device=p.device),
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
            }
            for name, p in self.parameters.items()
        }

    @torch.no_grad()
    def update(self, rate: float, scale: Tensor) -> None:
        """One step of every concept, at rate * scale[n] of concept n, times a name's share.

        A parameter has a gradient at each step or at none, so that those with one, which are of one
        type, have taken the same steps.

        Args:
            rate: of learning.
            scale: [concepts], float64.
        """
        settings = self._settings
        beta1, beta2 = settings.beta1, settings.beta2
        numbers: dict[float, tuple[Tensor, Tensor, Tensor]] = {}
        for name, p in self.parameters.items():
            if p.grad is None:
                continue
            state, share = self._state[name], self._shares.get(name, 1.0)
            state["step"] += 1
            state["exp_avg"].lerp_(p.grad, 1 - beta1)
            state["exp_avg_sq"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
            if share not in numbers:
                rates, steps = rate * share * scale, state["step"]
                numbers[share] = (
                    (1 - rates * settings.weight_decay).to(p.dtype),
                    (1 - beta2**steps).sqrt().to(p.dtype),
                    (rates / (1 - beta1**steps)).to(p.dtype),
                )
            left, root, size = (along(values, p) for values in numbers[share])
            spread = state["exp_avg_sq"].sqrt().div_(root).add_(settings.epsilon)
            p.mul_(left).addcdiv_(size * state["exp_avg"], spread, value=-1)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for p in self.parameters.values():
            p.grad = None

    def keep(self) -> list[Tensor]:
        """Everything that a step changes, for `undo`."""
        return [tensor.detach().clone() for tensor in self._changing()]

    def undo(self, which: Tensor, kept: Sequence[Tensor]) -> None:
        """Bring some concepts, [concepts], back to what `keep` gave."""
        undo(which, self._changing(), kept)

    def _changing(self) -> list[Tensor]:
        """The parameters, the moments, the counts."""
        return [*self.parameters.values(), *self.tensors().values()]

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, NAME/KEY."""
        return {
            f"{name}/{key}": value
            for name, state in self._state.items()
            for key, value in state.items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the state: the inverse of `tensors`."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

    def factors(self) -> list[float]:
        """1: the rate is what it is."""
        return [1.0] * len(next(iter(self.parameters.values())))

    def averaged(self) -> None:
        """None: what trains is saved."""


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], norms: Tensor, most: float) -> None:
    """Clip each concept's gradient by its own norm, never by the batch's.

    Args:
        parameters: their first dimension is the concept.
        norms: of each concept's gradient, [concepts].
        most: the largest norm; 0 does not clip.
    """
    if not most:
        return
    factor = (most / (norms + 1e-6)).clamp(max=1)
    for p in parameters:
        if p.grad is not None:
            p.grad.mul_(along(factor, p))
