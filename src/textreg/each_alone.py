"""A package's optimiser for N concepts: an instance for each, on its own slices of the weights.

What such an optimiser keeps for all its weights together (Prodigy's estimate of the rate, the
weights of schedule-free's average) is then each concept's own, whoever shares its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

Value: TypeAlias = Tensor | int | float
Make: TypeAlias = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class EachAlone:
    """N optimisers over stacked parameters, whose first dimension is the concept."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], make: Make, numbers: Sequence[str]):
        """Set up; nothing of the parameters changes.

        Args:
            parameters: by name.
            make: an optimiser of these parameters; its rate is set before each step.
            numbers: what it counts for all its parameters, entries of its group.
        """
        self._parameters, self._numbers = dict(parameters), tuple(numbers)
        first = next(iter(parameters.values()))
        # Views: a step on them is a step on the stacked tensor.
        self._own = [
            {name: nn.Parameter(p.detach()[n]) for name, p in parameters.items()}
            for n in range(len(first))
        ]
        self._optimizers = [make(list(own.values())) for own in self._own]
        self._begun = [False] * len(first)
        self._fresh = {key: self._optimizers[0].param_groups[0][key] for key in self._numbers}
        self._layout = self._after_a_step(make)

    def _after_a_step(self, make: Make) -> dict[str, Value]:
        """What a state consists of; packages make theirs at the first step."""
        trial = {name: nn.Parameter(p.detach().clone()) for name, p in self._own[0].items()}
        optimizer = make(list(trial.values()))
        for parameter in trial.values():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        return self._read(optimizer, trial)

    def _read(
        self, optimizer: torch.optim.Optimizer, own: Mapping[str, nn.Parameter]
    ) -> dict[str, Value]:
        """The state of one concept by name: NAME/KEY of a parameter, /KEY of all together."""
        each = {
            f"{name}/{key}": v for name, p in own.items() for key, v in optimizer.state[p].items()
        }
        return each | {f"/{key}": optimizer.param_groups[0][key] for key in self._numbers}

    def _write(self, n: int, values: Mapping[str, Value]) -> None:
        """Set the state of concept n: the inverse of `_read`."""
        optimizer = self._optimizers[n]
        for name, value in values.items():
            parameter, key = name.rsplit("/", 1)
            place = optimizer.state[self._own[n][parameter]] if parameter else None
            (optimizer.param_groups[0] if place is None else place)[key] = value
        self._begun[n] = True

    def _forget(self, n: int) -> None:
        """Concept n as before its first step."""
        self._optimizers[n].state.clear()
        self._optimizers[n].param_groups[0].update(self._fresh)
        self._begun[n] = False

    def update(self, rate: float, scale: Tensor) -> None:
        """One step of every concept; the rate of concept n is rate * scale[n]."""
        for n, share in enumerate(scale.tolist()):
            for name, view in self._own[n].items():
                grad = self._parameters[name].grad
                view.grad = None if grad is None else grad[n].contiguous()
            self._optimizers[n].param_groups[0]["lr"] = rate * share
            self._optimizers[n].step()
            self._begun[n] = True

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for p in (*self._parameters.values(), *(p for own in self._own for p in own.values())):
            p.grad = None

    def keep(self) -> list[tuple[dict[str, Tensor], dict[str, Value] | None]]:
        """Everything that a step changes, of each concept, for `undo`."""
        return [
            (
                {name: p.detach().clone() for name, p in own.items()},
                {k: _copy(v) for k, v in self._read(optimizer, own).items()} if begun else None,
            )
            for own, optimizer, begun in zip(self._own, self._optimizers, self._begun, strict=True)
        ]

    @torch.no_grad()
    def undo(
        self, which: Tensor, kept: Sequence[tuple[dict[str, Tensor], dict[str, Value] | None]]
    ) -> None:
        """Bring some concepts, [N], back to what `keep` gave."""
        for n in which.nonzero().flatten().tolist():
            weights, state = kept[n]
            for name, weight in weights.items():
                self._own[n][name].copy_(weight)
            if state is None:
                self._forget(n)
            else:
                self._write(n, state)

    def tensors(self) -> dict[str, Tensor]:
        """The state of all concepts by name, [N, ...]; zeros of one that has taken no step."""
        device = next(iter(self._parameters.values())).device
        rows = [
            self._read(optimizer, own) if begun else {}
            for own, optimizer, begun in zip(self._own, self._optimizers, self._begun, strict=True)
        ]
        stacked = {
            name: torch.stack([_tensor(row.get(name, _zero(like)), device) for row in rows])
            for name, like in self._layout.items()
        }
        return stacked | {"/begun": torch.tensor(self._begun, device=device)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the state: the inverse of `tensors`."""
        for n, begun in enumerate(tensors["/begun"].tolist()):
            self._forget(n)
            if begun:
                self._write(n, {k: _like(tensors[k][n], v) for k, v in self._layout.items()})

    def factors(self) -> list[float]:
        """What each concept's rate is multiplied by: Prodigy's estimate d, or 1."""
        return [float(o.param_groups[0].get("d", 1.0)) for o in self._optimizers]

    @torch.no_grad()
    def averaged(self) -> dict[str, Tensor] | None:
        """Schedule-free's average x = y + (1 - 1 / beta1) (z - y) by name; None without one."""
        if not any(name.endswith("/z") for name in self._layout):
            return None
        values = {name: p.detach().clone() for name, p in self._parameters.items()}
        for n, (optimizer, own) in enumerate(zip(self._optimizers, self._own, strict=True)):
            back = 1 - 1 / optimizer.param_groups[0]["betas"][0]
            for name, y in own.items() if self._begun[n] else ():
                values[name][n] = y.lerp(optimizer.state[y]["z"], back)
        return values


def _copy(value: Value) -> Value:
    return value.clone() if isinstance(value, Tensor) else value


def _zero(like: Value) -> Value:
    return torch.zeros_like(like) if isinstance(like, Tensor) else type(like)(0)


def _tensor(value: Value, device: torch.device) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().to(device)
    kind = torch.int64 if isinstance(value, int) else torch.float64
    return torch.tensor(value, dtype=kind, device=device)


def _like(tensor: Tensor, value: Value) -> Value:
    """A row as the kind of value that it was."""
    if isinstance(value, Tensor):
        return tensor.detach().clone().to(value.device)
    return type(value)(tensor.item())
