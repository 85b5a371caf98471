"""The optimiser of a stage: our own AdamW, or a package's, an instance a concept."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from textreg.concept_adamw import ConceptAdamW
from textreg.config import Inversion, Optimizer, Run, Tuning
from textreg.dependencies import optional
from textreg.each_alone import EachAlone


class ConceptOptimizer(Protocol):
    """N independent optimisers over stacked parameters, whose first dimension is the concept."""

    def update(self, rate: float, scale: Tensor) -> None:
        """One step of every concept; the rate of concept n is rate * scale[n], float64."""
        ...

    def zero_grad(self) -> None:
        """Drop the gradients."""
        ...

    def keep(self) -> Any:
        """Everything that a step changes, for `undo`."""
        ...

    def undo(self, which: Tensor, kept: Any) -> None:
        """Bring some concepts, [N], back to what `keep` gave."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, [N, ...]."""
        ...

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the state: the inverse of `tensors`."""
        ...

    def factors(self) -> list[float]:
        """What each concept's rate is multiplied by."""
        ...

    def averaged(self) -> dict[str, Tensor] | None:
        """The parameters to save in place of those that train, by name; None: the same."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Package:
    """An optimiser that comes in a package of its own; the extra has the optimiser's name."""

    module: str
    package: str
    make: Callable[[Any, list[nn.Parameter], Optimizer], torch.optim.Optimizer]
    numbers: tuple[str, ...] = ()
    """What it counts for all its parameters together."""


def _adamw_8bit(module: Any, parameters: list[nn.Parameter], s: Optimizer) -> torch.optim.Optimizer:
    return module.AdamW8bit(parameters, **_shared(s), weight_decay=s.weight_decay)


def _prodigy(module: Any, parameters: list[nn.Parameter], s: Optimizer) -> torch.optim.Optimizer:
    optimizer = module.Prodigy(
        parameters,
        **_shared(s),
        d_coef=s.prodigy_coefficient,
        use_bias_correction=True,
        safeguard_warmup=True,
    )
    # Given to the constructor, it is printed for every concept.
    optimizer.param_groups[0]["weight_decay"] = s.weight_decay
    return optimizer


def _schedule_free(
    module: Any, parameters: list[nn.Parameter], s: Optimizer
) -> torch.optim.Optimizer:
    optimizer = module.AdamWScheduleFree(parameters, **_shared(s), weight_decay=s.weight_decay)
    optimizer.train()
    return optimizer


def _shared(settings: Optimizer) -> dict[str, Any]:
    return {"betas": (settings.beta1, settings.beta2), "eps": settings.epsilon}


_PACKAGES = {
    "adamw-8bit": _Package(module="bitsandbytes.optim", package="bitsandbytes", make=_adamw_8bit),
    "prodigy": _Package(
        module="prodigyopt",
        package="prodigyopt",
        make=_prodigy,
        numbers=("d", "d_max", "d_numerator", "k"),
    ),
    "schedule-free": _Package(
        module="schedulefree",
        package="schedulefree",
        make=_schedule_free,
        numbers=("k", "weight_sum", "lr_max"),
    ),
}


def require_optimizer(run: Run) -> None:
    """Refuse a run whose optimiser's package is not installed.

    Raises:
        UserError: names the package and the extra.
    """
    if run.optimizer.name != "adamw":
        _module(run.optimizer.name)


def concept_optimizer(
    parameters: Mapping[str, nn.Parameter], stage: Inversion | Tuning, settings: Optimizer
) -> ConceptOptimizer:
    """The optimiser of a stage with these settings; stage 1's is AdamW (decision 0046)."""
    if settings.name == "adamw" or not isinstance(stage, Tuning):
        shares: dict[str, float] = {}
        if isinstance(stage, Tuning) and stage.text_encoder_learning_rate is not None:
            share = stage.text_encoder_learning_rate / stage.learning_rate
            shares = {name: share for name in parameters if name.startswith("encoder.")}
        return ConceptAdamW(parameters, settings, shares)
    own, module = _PACKAGES[settings.name], _module(settings.name)
    return EachAlone(parameters, lambda given: own.make(module, given, settings), own.numbers)


def paced(stage: Inversion | Tuning, settings: Optimizer) -> Inversion | Tuning:
    """Whose rate, warm-up and schedule hold: Prodigy finds the rate itself, and multiplies 1."""
    if settings.name == "prodigy" and isinstance(stage, Tuning):
        return replace(stage, learning_rate=1.0)
    return stage


def _module(name: str) -> Any:
    own = _PACKAGES[name]
    with _kept_from("kernels", "bitsandbytes.backends.cpu.ops"):
        return optional(own.module, f"--optimizer {name}", own.package, name)


@contextmanager
def _kept_from(hub: str, logger: str) -> Generator[None]:
    """Import without a package, and without the warning that it is missing.

    bitsandbytes asks `kernels`, where it is installed, for a matrix product from the hub when it is
    imported; no optimiser needs it, and nothing here reaches for the network by itself.
    """
    there, log = sys.modules.get(hub), logging.getLogger(logger)
    level = log.level
    sys.modules[hub] = None  # type: ignore[assignment]
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        del sys.modules[hub]
        if there is not None:
            sys.modules[hub] = there
