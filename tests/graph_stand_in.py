"""CUDA graphs where there is no CUDA, and passes of a denoiser to compare ways by."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from textreg import speed
from textreg.backbone import Backbone
from textreg.speed import with_way

Function = Callable[..., Tensor]


@dataclass
class GraphStandIn:
    """Counts in place of capturing: what is captured is called as it is.

    `captured` are the tensors of each capture; `current` are the devices that are current, the
    innermost last; `at_capture` and `at_replay` are those at each capture and each replay.
    """

    captured: list[tuple[Tensor, ...]] = field(default_factory=list)
    current: list[torch.device] = field(default_factory=list)
    at_capture: list[list[torch.device]] = field(default_factory=list)
    at_replay: list[list[torch.device]] = field(default_factory=list)
    graphed: Callable[[Function, tuple[Tensor, ...]], Function] = lambda function, _: function
    """What stands in for the graphs of a function that was captured with these tensors."""

    def capture(self, function: Function, samples: tuple[Tensor, ...]) -> Function:
        self.captured.append(samples)
        self.at_capture.append([*self.current])
        graphed = self.graphed(function, samples)

        def replay(*given: Tensor) -> Tensor:
            self.at_replay.append([*self.current])
            return graphed(*given)

        return replay

    @contextmanager
    def device(self, device: torch.device) -> Generator[None]:
        self.current.append(device)
        yield
        self.current.pop()

    @classmethod
    def instead(cls, patch: pytest.MonkeyPatch) -> "GraphStandIn":
        """One, in the place of torch's own."""
        found = cls()
        patch.setattr(speed, "records_itself", lambda _: False)
        patch.setattr(torch.cuda, "make_graphed_callables", found.capture)
        patch.setattr(torch.cuda, "device", found.device)
        patch.setattr(torch.cuda, "current_stream", lambda: None)
        patch.setattr(torch.cuda, "stream", nullcontext)
        return found


def heard(backbone: Backbone, samples: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """x_t, t, and keys and values that want gradients."""
    random = torch.Generator(backbone.device).manual_seed(samples)
    options: dict[str, Any] = {"generator": random, "device": backbone.device}
    x_t = torch.randn(samples, 4, 8, 8, **options)
    t = torch.randint(1000, (samples,), **options)
    keys_values = [
        torch.randn(samples, 77, width, **options).requires_grad_()
        for width in backbone.projections.widths
    ]
    return x_t, t, keys_values


def passes(backbone: Backbone, samples: int) -> list[Tensor]:
    """The denoiser's prediction, and its mean square's gradient of each key and value."""
    x_t, t, keys_values = heard(backbone, samples)
    prediction = backbone.denoiser(x_t, t, keys_values)
    prediction.float().square().mean().backward()
    return [prediction.detach(), *(k.grad for k in keys_values if k.grad is not None)]


def assert_as_eager(backbone: Backbone, way: speed.Way) -> None:
    """Value and gradients, at two shapes and again at the first."""
    quick = with_way(backbone, way)
    for samples in (1, 3, 1):
        wanted = passes(backbone, samples)
        assert len(wanted) == 1 + len(backbone.projections.widths)
        for ours, theirs in zip(passes(quick, samples), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    x_t, t, keys_values = heard(backbone, 3)
    with torch.no_grad():
        assert torch.equal(
            quick.denoiser(x_t, t, keys_values), backbone.denoiser(x_t, t, keys_values)
        )
