"""Quarantine: a concept whose numbers are not finite must not stop the others (FAULTS 1, 13, 14).

Its step is not applied. The first time its learning rate is halved, for good; the second time it
is left as it was after its last good step, and the run ends as failed once the others are done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from textreg.concept_rows import along
from textreg.config import Concept, Run
from textreg.data_parallel import micro_batches, step_draws
from textreg.errors import UserError
from textreg.ranks import ALONE

_STRIKES = 2
_WHAT = ("loss", "gradient", "updated weights")


class Quarantine:
    """The strikes of N concepts. What a step needs of it stays on the device."""

    def __init__(self, concepts: int, device: torch.device):
        self.strikes = torch.zeros(concepts, dtype=torch.int64, device=device)
        self.last = torch.zeros(concepts, 2, dtype=torch.int64, device=device)
        """Global step (from 1) and what was not finite, of each concept's last strike."""

    @property
    def scale(self) -> Tensor:
        """Share of the learning rate that each concept has left, [concepts], float64."""
        return torch.where(self.strikes > 0, 0.5, 1.0).double()

    @torch.no_grad()
    def judge(self, finite: Sequence[Tensor], global_step: int) -> Tensor:
        """Count the strikes of a step; returns which concepts' steps hold, [concepts].

        Args:
            finite: of each concept, whether its loss, gradient and updated weights are finite.
            global_step: the step, from 1.
        """
        each = torch.stack(list(finite))
        alive = self.strikes < _STRIKES
        struck = alive & ~each.all(0)
        fault = torch.stack([torch.full_like(self.strikes, global_step), (~each).int().argmax(0)])
        self.strikes += struck
        self.last = torch.where(struck[:, None], fault.T, self.last)
        return alive & ~struck

    def state(self) -> dict[str, Tensor]:
        """Named tensors for a checkpoint."""
        return {"quarantine.strikes": self.strikes, "quarantine.last": self.last}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Set the strikes to a checkpoint's.

        Raises:
            UserError: it tells of a fault that there is not.
        """
        what = tensors["quarantine.last"][:, 1]
        if not bool(((what >= 0) & (what < len(_WHAT))).all()):
            raise UserError("tells of a fault that there is not")
        self.strikes.copy_(tensors["quarantine.strikes"])
        self.last.copy_(tensors["quarantine.last"])


@torch.no_grad()
def weights_are_finite(parameters: Iterable[Tensor]) -> Tensor:
    """Of each concept, the first dimension, whether all its numbers are finite; [concepts]."""
    # If one is not, the largest or the smallest is not, which no copy is needed for.
    rows = [p.flatten(1) for p in parameters]
    return (
        torch.stack([end for own in rows for end in (own.amax(1), own.amin(1))]).isfinite().all(0)
    )


@torch.no_grad()
def undo(which: Tensor, tensors: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    """Bring some concepts back to before the step; a choice, as 0 x NaN is NaN."""
    if _known_none(which):
        return
    for now, then in zip(tensors, before, strict=True):
        now.copy_(torch.where(along(which, now), then, now))


def _known_none(which: Tensor) -> bool:
    """Whether there is none, where nothing has to be waited for to know: on a CPU."""
    return which.device.type == "cpu" and not which.any()


def _step_in_words(run: Run, concept: Concept, at: int, timesteps: int) -> str:
    """A global step in words, with its timesteps, which are drawn again; of so many."""
    first = run.inversion.steps
    stage, step = ("inversion", at) if at <= first else ("tuning", at - first)
    pairs = [pair for own in micro_batches(run, ALONE) for pair in own]
    (draws,) = step_draws(run, [concept], stage, step - 1, pairs)
    drawn = [d.index("timestep", timesteps) for d in draws]
    return f"{stage} step {step}, timestep {', '.join(map(str, drawn))}"


def _line(concept: str, what: int, where: str, strikes: int) -> str:
    """One sentence for the user about a concept's strike."""
    outcome = (
        "its learning rate is halved from here on"
        if strikes < _STRIKES
        else "for the second time, so it is in quarantine. "
        "Try --dtype fp32 or a lower learning rate"
    )
    return (
        f"{concept}: the {_WHAT[what]} is not finite at {where}, so the step was not taken: "
        f"{outcome}"
    )


def fault_line(run: Run, concept: Concept, at: int, what: int, strikes: int, timesteps: int) -> str:
    """A concept's last strike in words.

    Args:
        run: the run.
        concept: whose strike.
        at: its global step, from 1.
        what: what was not finite, as `Quarantine.last` has it.
        strikes: how many it has.
        timesteps: how many the base has; the step's are drawn again.
    """
    return _line(concept.name, what, _step_in_words(run, concept, at, timesteps), strikes)


def ended(strikes: int) -> bool:
    """Whether a concept with so many strikes is in quarantine."""
    return strikes >= _STRIKES
