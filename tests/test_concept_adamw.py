"""AdamW of stacked concepts: each parameter as if it were alone, what they share computed once."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from textreg.concept_adamw import ConceptAdamW
from textreg.config import Optimizer

SHAPES = {"down": (3, 4, 2), "up": (3, 5), "encoder.up": (3, 2, 2), "unused": (3, 2)}
SHARES = {"encoder.up": 0.25}


class _Powers(TorchDispatchMode):
    """Counts what a bias correction begins with."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += func.overloadpacket.__name__ == "pow"
        return func(*args, **(kwargs or {}))


def drawn(step: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(step)
    return {name: torch.randn(shape, generator=random) for name, shape in SHAPES.items()}


def optimizers(*, together: bool) -> tuple[dict[str, nn.Parameter], list[ConceptAdamW]]:
    """Parameters, and one optimiser of all of them or one of each."""
    parameters = {name: nn.Parameter(values) for name, values in drawn(99).items()}
    settings = Optimizer(weight_decay=0.1)
    groups = [parameters] if together else [{name: p} for name, p in parameters.items()]
    return parameters, [ConceptAdamW(group, settings, SHARES) for group in groups]


def take(parameters: dict[str, nn.Parameter], each: list[ConceptAdamW], steps: range) -> None:
    """With a concept whose rate is halved, and one parameter that has no gradient."""
    for step in steps:
        gradients = drawn(step)
        for name, p in parameters.items():
            p.grad = None if name == "unused" else gradients[name]
        for optimizer in each:
            optimizer.update(0.01 / (step + 1), torch.tensor([1.0, 0.5, 1.0]).double())


def test_each_parameter_is_updated_as_if_alone() -> None:
    """To the bit, and on from a saved state."""
    ours, (whole,) = optimizers(together=True)
    theirs, each = optimizers(together=False)
    take(ours, [whole], range(3))
    take(theirs, each, range(3))
    saved, (again,) = optimizers(together=True)
    again.load(whole.tensors())
    with torch.no_grad():
        for name, p in saved.items():
            p.copy_(ours[name])
    take(saved, [again], range(3, 6))
    take(theirs, each, range(3, 6))
    assert all(torch.equal(saved[name], p) for name, p in theirs.items())
    assert torch.equal(theirs["unused"], drawn(99)["unused"])
    state = again.tensors()
    assert state["up/step"].tolist() == [6.0] * 3
    assert state["unused/step"].tolist() == [0.0] * 3


def test_it_is_as_torchs_own() -> None:
    """At one rate, to rounding; a share of the rate is a group of its own there."""
    ours, (whole,) = optimizers(together=True)
    plain = {name: nn.Parameter(values) for name, values in drawn(99).items()}
    groups = [{"params": [p], "lr": 0.01 * SHARES.get(n, 1.0)} for n, p in plain.items()]
    torchs = torch.optim.AdamW(groups, weight_decay=0.1)
    for step in range(4):
        for name, values in drawn(step).items():
            ours[name].grad, plain[name].grad = values, values.clone()
        whole.update(0.01, torch.ones(3).double())
        torchs.step()
    for name, p in ours.items():
        torch.testing.assert_close(p, plain[name], rtol=1e-5, atol=1e-7)


def test_the_bias_correction_is_computed_once_a_rate() -> None:
    """Two powers for all that share a rate, two for the text encoder's."""
    parameters, (whole,) = optimizers(together=True)
    take(parameters, [whole], range(1))
    with _Powers() as powers:
        take(parameters, [whole], range(1, 2))
    assert powers.count == 4
