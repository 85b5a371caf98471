"""What a recording is called by: its list of operators, and that of its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.fx import GraphModule


class Replay:
    """A recorded function of tensors."""

    def __init__(self, forward: GraphModule):
        """Replay `forward`: of what is given, the value and a list of what is saved of it."""
        self.forward = forward

    def __call__(self, *given: Tensor) -> Tensor:
        """The function's value, without a gradient."""
        return self.forward.forward(*given)[0]


class ReplayWithGradient(Replay):
    """One that has the gradients it was recorded with."""

    def __init__(self, forward: GraphModule, backward: GraphModule, gradient: Tensor):
        """Replay two lists of operators.

        Args:
            forward: as for `Replay`.
            backward: of the list that was saved, which it empties, and the value's gradient: the
                gradients of what required one, in order.
            gradient: one in the layout that `backward` reads.
        """
        super().__init__(forward)
        self.backward, self._laid = backward, gradient

    def __call__(self, *given: Tensor) -> Tensor:
        """The function's value."""
        return _Function.apply(self, *given)

    def gradients(self, saved: list[Tensor], gradient: Tensor) -> list[Tensor]:
        """Of what required one, from the value's, in any layout, and what was saved."""
        if gradient.stride() != self._laid.stride():
            gradient = torch.empty_like(self._laid).copy_(gradient)
        return self.backward.forward(saved, gradient)


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, replay: ReplayWithGradient, *given: Tensor) -> Tensor:
        value, ctx.saved = replay.forward.forward(*given)
        ctx.replay = replay
        return value

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        saved, ctx.saved = ctx.saved, None
        if saved is None:
            raise RuntimeError("a replayed pass goes back once; what it had saved is gone")
        found = iter(ctx.replay.gradients(saved, gradients[0]))
        return tuple(next(found) if wanted else None for wanted in ctx.needs_input_grad)
