"""The frozen denoiser's forward and backward pass as CUDA graphs, of one shape at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from textreg.errors import UserError
from textreg.method.denoiser import Denoiser
from textreg.method.recorded_passes import values_and_gradients

_ROUNDING = 0.05
"""Difference from the eager pass, as a share of it, that may be rounding. A choice: in bf16 other
kernels differ by a hundredth; a graph that recorded nothing differs by about 1."""


class GraphsFailed(UserError):
    """Graphs cannot stand in for this denoiser; says what to do."""

    def __init__(self, why: str):
        super().__init__(f"--speed graph: {why}; use --speed eager")
        self.why = why


def has_graphs(device: torch.device) -> bool:
    """Whether there can be graphs of a device: CUDA's own, or what a CPU's denoiser records."""
    return device.type in ("cuda", "cpu")


class Graphs:
    """CUDA graphs of the forward and the backward pass, a pair for the newest shape.

    A graph reads and writes the same memory each time, so a second pass before the first one's
    backward would overwrite what that still needs: it goes the plain way. That memory is as much as
    all activations of a pass and nobody else's, so the pair of a shape that is gone is dropped.
    """

    def __init__(self, plain: Denoiser):
        self._plain = plain
        self._shape: Any = None
        self._graphed: Callable[..., Tensor] = plain
        self._pending = False

    def __call__(
        self, x_t: Tensor, t: Tensor, keys_values: list[Tensor], pooled: Tensor | None
    ) -> Tensor:
        """As the plain denoiser, to rounding.

        Raises:
            GraphsFailed: torch cannot capture this denoiser, or what it captured is another.
        """
        given = (x_t, t, *keys_values, *(() if pooled is None else (pooled,)))
        if self._pending or not any(x.requires_grad for x in given):
            return self._plain(x_t, t, keys_values, pooled)
        shape = tuple((x.shape, x.dtype, x.requires_grad) for x in given)
        # Graphs are of the current device's streams, whatever device the tensors are on.
        with torch.cuda.device(x_t.device):
            if shape != self._shape:
                self.drop()
                self._graphed = self._captured(given, pooled is not None)
                self._shape = shape
            prediction = self._graphed(*given)
        self._pending = True
        prediction.register_hook(lambda _: self._not_pending())
        return prediction

    def begin_step(self) -> None:
        """Whatever pass is pending now, memory ended its step: its backward never comes.

        If memory asked for activations to be computed twice, no graph is replayed any more.
        """
        self._not_pending()
        if self._shape is not None and not self._plain.activations_kept:
            self.drop()

    def drop(self) -> None:
        """Forget the graphs, and give their memory back."""
        self._shape, self._graphed = None, self._plain
        free_graphs()

    def _not_pending(self) -> None:
        self._pending = False

    def _captured(self, given: Sequence[Tensor], with_pooled: bool) -> Callable[..., Tensor]:
        """Graphs for tensors like these, checked on these themselves."""

        def forward(x_t: Tensor, t: Tensor, *rest: Tensor) -> Tensor:
            keys_values = list(rest[:-1] if with_pooled else rest)
            return self._plain(x_t, t, keys_values, rest[-1] if with_pooled else None)

        # Before the capture, so that only one of them has activations at a time.
        wanted = values_and_gradients(forward, given)
        # Zeros: a graph that replays nothing leaves theirs, which then differ from what is wanted.
        samples = tuple(torch.zeros_like(x).requires_grad_(x.requires_grad) for x in given)
        try:
            # A capture that fails may leave its stream the current one.
            with torch.cuda.stream(torch.cuda.current_stream()):
                graphed: Any = torch.cuda.make_graphed_callables(forward, samples)
            same = alike(values_and_gradients(graphed, given), wanted)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise GraphsFailed(f"torch could not capture it ({first_line(error)})") from None
        if not same:
            raise GraphsFailed("here they do not compute what the eager denoiser does")
        return graphed


def free_graphs() -> None:
    """Give back the device memory of graphs that nobody uses.

    Each is in a reference cycle (torch keeps it in a class), and torch does not collect those
    before it captures the next.
    """
    gc.collect()
    torch.cuda.empty_cache()


def first_line(error: Exception) -> str:
    """What an error says first; its name, if it says nothing."""
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def alike(found: Sequence[list[Tensor]], wanted: Sequence[list[Tensor]]) -> bool:
    """Whether each list is the wanted one to rounding; what overflows must do so in both."""
    for ours, theirs in zip(found, wanted, strict=True):
        squares = [_squares(a, b) for a, b in zip(ours, theirs, strict=True)]
        apart, size = torch.stack(squares).sum(0).tolist()
        if not apart <= _ROUNDING**2 * size:
            return False
    return True


def _squares(ours: Tensor, theirs: Tensor) -> Tensor:
    """Squared norms of the difference and of theirs, [2]."""
    a, b = (x.double().nan_to_num(0, 0, 0) for x in (ours, theirs))
    return torch.stack([(a - b).square().sum(), b.square().sum()])
