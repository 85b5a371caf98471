"""An optimiser a concept: bit for bit the package's own, resumed, taken back, in any company.

The packages are optional: pip install -e '.[adamw-8bit,prodigy,schedule-free]', then this file.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from textreg.concept_optimizer import concept_optimizer
from textreg.config import Optimizer, Tuning
from textreg.each_alone import EachAlone

CONCEPTS, STEPS, RATE = 3, 8, 0.01
PACKAGES = {"adamw-8bit": "bitsandbytes", "prodigy": "prodigyopt", "schedule-free": "schedulefree"}
# torch's own stands for a package where none is installed.
NAMES = ("torch", *PACKAGES)


def plain(name: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """As its own documentation has it."""
    shared: dict[str, Any] = {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
    if name == "torch":
        return torch.optim.AdamW(parameters, lr=RATE, **shared)
    module: Any = pytest.importorskip(PACKAGES[name])
    if name == "adamw-8bit":
        return module.optim.AdamW8bit(parameters, lr=RATE, **shared)
    if name == "schedule-free":
        optimizer = module.AdamWScheduleFree(parameters, lr=RATE, **shared)
        optimizer.train()
        return optimizer
    own = {"d_coef": 2.0, "use_bias_correction": True, "safeguard_warmup": True}
    return module.Prodigy(parameters, lr=1.0, **shared, **own)


def ours(name: str, parameters: dict[str, nn.Parameter]) -> Any:
    if name == "torch":
        return EachAlone(parameters, lambda given: plain("torch", given), ())
    pytest.importorskip(PACKAGES[name])
    settings = Optimizer(
        name=name,  # type: ignore[arg-type]
        beta1=0.8,
        beta2=0.95,
        epsilon=1e-6,
        weight_decay=0.1,
        prodigy_coefficient=2.0,
    )
    return concept_optimizer(parameters, Tuning(learning_rate=RATE), settings)


def start(concepts: int = CONCEPTS) -> dict[str, nn.Parameter]:
    """A large tensor, which 8-bit AdamW quantises, a small one, and one of zeros, as B is."""
    random = torch.Generator().manual_seed(0)
    large, small = (torch.randn(CONCEPTS, *s, generator=random) for s in ((70, 64), (4, 8)))
    zeros = torch.zeros(CONCEPTS, 66, 64)
    given = {"large": large, "small": small, "zeros": zeros}
    return {name: nn.Parameter(p[:concepts].clone()) for name, p in given.items()}


def gradient(name: str, step: int, concept: int, shape: torch.Size) -> Tensor:
    """Mostly one direction, the concept's own: Prodigy then finds a rate."""
    steady, random = (torch.Generator().manual_seed(x) for x in (len(name), 1000 * step + concept))
    direction = torch.randn(shape, generator=steady)
    return (1 + concept) * direction + torch.randn(shape, generator=random)


def advance(
    optimizer: Any,
    parameters: dict[str, nn.Parameter],
    step: int,
    spoil: Callable[[Tensor], None] | None = None,
) -> None:
    for name, p in parameters.items():
        p.grad = torch.stack([gradient(name, step, n, p.shape[1:]) for n in range(len(p))])
        if spoil is not None:
            spoil(p.grad)
    scale = torch.tensor([1.0, 0.5, 1.0], dtype=torch.float64)[: len(p.detach())]
    optimizer.update(rate(step), scale)
    optimizer.zero_grad()


def rate(step: int) -> float:
    """A warm-up; Prodigy finds its own rate only if it may go as far as it wants."""
    return min(1.0, (step + 1) / 3)


def values(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in parameters.items()}


@pytest.mark.parametrize("concepts", [1, CONCEPTS])
@pytest.mark.parametrize("name", NAMES)
def test_each_concept_is_the_packages_own_plain_use(name: str, concepts: int) -> None:
    parameters = start(concepts)
    optimizer = ours(name, parameters)
    for step in range(STEPS):
        advance(optimizer, parameters, step)
    saved = optimizer.averaged() or values(parameters)
    for n in range(concepts):
        alone = {key: nn.Parameter(p[n].detach().clone()) for key, p in start().items()}
        reference = plain(name, list(alone.values()))
        for step in range(STEPS):
            for key, p in alone.items():
                p.grad = gradient(key, step, n, p.shape)
            reference.param_groups[0]["lr"] = rate(step) * (0.5 if n == 1 else 1.0)
            reference.step()
        for key, p in alone.items():
            assert torch.equal(parameters[key][n], p), key
        if name == "schedule-free":
            reference.eval()  # type: ignore[attr-defined]
            assert not torch.equal(alone["large"], parameters["large"][n])
        for key, p in alone.items():
            assert torch.equal(saved[key][n], p), key
        assert not torch.equal(parameters["large"][n], start()["large"][n])


@pytest.mark.parametrize("taken", [0, 1, 4])
@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_exactly(name: str, taken: int) -> None:
    parameters = start()
    optimizer = ours(name, parameters)
    names = {key: (t.shape, t.dtype) for key, t in optimizer.tensors().items()}
    for step in range(taken):
        advance(optimizer, parameters, step)
    tensors = {key: tensor.clone() for key, tensor in optimizer.tensors().items()}
    # The same before and after the first step: a checkpoint can be told from one of another run.
    assert {key: (t.shape, t.dtype) for key, t in tensors.items()} == names
    assert all(len(tensor) == CONCEPTS for tensor in tensors.values())
    if name == "adamw-8bit":
        assert tensors["large/state1"].dtype == tensors["zeros/state2"].dtype == torch.uint8
    again = start()
    other = ours(name, again)
    with torch.no_grad():
        for key, p in again.items():
            p.copy_(parameters[key])
    other.load(tensors)
    for step in range(taken, STEPS):
        advance(optimizer, parameters, step)
        advance(other, again, step)
    assert all(torch.equal(parameters[key], again[key]) for key in parameters)
    state = other.tensors()
    assert all(torch.equal(tensor, state[key]) for key, tensor in optimizer.tensors().items())


@pytest.mark.parametrize("bad", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_taken_back_is_as_if_never_taken(name: str, bad: int) -> None:
    """The first, which makes the state, and a later one; the others do not feel it."""
    parameters, healthy = start(), start()
    optimizer, reference = ours(name, parameters), ours(name, healthy)

    def spoil(grad: Tensor) -> None:
        grad[1, 0, 0] = torch.nan

    for step in range(STEPS):
        kept = optimizer.keep()
        before = {key: t.clone() for key, t in optimizer.tensors().items()}
        advance(optimizer, parameters, step, spoil if step == bad else None)
        advance(reference, healthy, step)
        if step == bad:
            assert not bool(parameters["large"][1].isfinite().all())
            optimizer.undo(torch.tensor([False, True, False]), kept)
            after = optimizer.tensors()
            assert all(torch.equal(after[key][1], before[key][1]) for key in after)
    for key, p in parameters.items():
        assert torch.equal(p[[0, 2]], healthy[key][[0, 2]]), key
        assert bool(p.isfinite().all())
    skipped = start()
    third = ours(name, skipped)
    for step in range(STEPS):
        if step != bad:
            advance(third, skipped, step)
    assert all(torch.equal(p[1], skipped[key][1]) for key, p in parameters.items())


def test_prodigy_finds_a_rate_for_each_concept() -> None:
    parameters = start()
    optimizer = ours("prodigy", parameters)
    for step in range(STEPS):
        advance(optimizer, parameters, step)
    slow, first, last = (optimizer.factors()[n] for n in (1, 0, 2))
    # The second has half the rate, the third the largest gradients; all start at 1e-6.
    assert 1e-6 <= slow < 3e-6 < first < last
