"""Out of memory: the same step in smaller parts, then with less kept; then an error with numbers.

A step is a function of the seed and its number (randomness.py), so it can be taken again: a batch
of S samples a concept becomes two of S/2, four of S/4 ... whose mean is the same to rounding; then
the denoiser computes its activations twice instead of keeping them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from textreg.errors import UserError
from textreg.method.denoiser import Denoiser
from textreg.out_of_memory import shortage

T = TypeVar("T")


class MemoryLimit:
    """How a step is cut to what fits; what was found holds for the steps after it, of one batch."""

    def __init__(self, samples: int, concepts: int, denoiser: Denoiser, *, whole: bool = False):
        """Set up; `whole`: the first sample decides the others' shape, so none is left out."""
        self._samples, self._concepts, self._denoiser = samples, concepts, denoiser
        # The denoiser outlives a run, and what an earlier one did not fit says nothing of this one.
        denoiser.keep_activations(True)
        self._most = 1 if whole else samples
        self.parts = 1
        """Pieces that a micro-batch is computed in."""

    @property
    def cut(self) -> bool:
        """Whether a step did not fit as it was."""
        return self.parts > 1 or not self._denoiser.activations_kept

    def fit(self, gradients: Callable[[int], T]) -> T:
        """The gradients of a step, computed in as few parts as fit.

        Args:
            gradients: computes them anew in so many parts.

        Raises:
            UserError: not even the smallest step fits; says how much there was, and how much more
                was asked for.
        """
        while True:
            try:
                return gradients(self.parts)
            except (MemoryError, RuntimeError) as error:
                if (full := shortage(error)) is None:
                    raise
            # Only here: while an error is handled, it keeps the tensors of the step.
            self._smaller(full)

    def _smaller(self, full: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        larger = [n for n in range(self.parts + 1, self._most + 1) if self._samples % n == 0]
        if larger:
            self.parts = larger[0]
            done = f"each batch is computed in {self.parts} parts from here on"
        elif self._denoiser.activations_kept:
            self._denoiser.keep_activations(False)
            done = "activations are computed twice from here on, not kept"
        else:
            left = self._samples // self.parts
            each = "one sample" if left == 1 else f"{left} samples"
            raise UserError(
                f"out of memory with {self._concepts} concepts of {each} each: {full} "
                "Free memory of this device and give the same command again, which goes on from "
                "the last checkpoint; or begin with a lower --batch-concepts or --resolution"
            )
        print(f"textreg: out of memory; {done}", file=sys.stderr)
