"""A function of tensors as the list of its operators, without the modules around them.

Of a small model's pass on a processor a seventh is Python between operators, and operators that
change nothing; and convolutions bring their weights into order at each. All that is gone from a
recording. Values and gradients are the same to the last bit, which is checked before one counts.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from textreg.method.packed_convolutions import PackedConvolutions
from textreg.method.recording import Function, apart, recording

COMES_BACK = 32
"""Passes of a shape after which it is recorded. A choice: recording, with its check, takes as long
as some 32 passes of a small denoiser win."""
_SLOW = 0.25
"""Seconds of a pass forward from which it is not recorded. A choice: what Python costs of it is a
fiftieth and less."""
_MOST = 8
"""Recordings. A choice: each packs convolutions of its own."""

_CANNOT = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, NameError, SyntaxError)
"""What recording raises of what it cannot record; a pass itself has gone through before."""


class RecordedPasses:
    """A function of tensors that is recorded for each shape that comes back, and then replayed."""

    def __init__(self, name: str):
        """Record nothing yet; `name`: of the function, for the user."""
        self._name = name
        self._seen: Counter[Any] = Counter()
        self._recorded: dict[Any, Function | None] = {}
        """None: not worth it, or not possible."""
        self.packed: PackedConvolutions | None = PackedConvolutions()
        """What recordings call in place of torch's convolutions; none where these differ."""

    def __call__(self, function: Function, *given: Tensor) -> Tensor:
        """As the function, to the last bit.

        Args:
            function: the same at each call; what it reads beside its tensors must stay in its
                place and as it is, and no hooks may come later.
            given: what it is called with.
        """
        shape = (
            torch.is_grad_enabled(),
            *((x.shape, x.stride(), x.dtype, x.requires_grad) for x in given),
        )
        if shape not in self._recorded:
            self._seen[shape] += 1
            recorded = sum(1 for one in self._recorded.values() if one)
            if self._seen[shape] <= COMES_BACK or recorded >= _MOST:
                begun = time.perf_counter()
                found = function(*given)
                if self._seen[shape] == COMES_BACK and time.perf_counter() - begun > _SLOW:
                    self._recorded[shape] = None
                return found
            self._recorded[shape] = self._checked(function, given)
        return (self._recorded[shape] or function)(*given)

    def _checked(self, function: Function, given: Sequence[Tensor]) -> Function | None:
        """A recording that gave the same; else none, with a line that says so."""
        why = ""
        # Of other numbers: what a recording took from their values then shows.
        other = [apart(x) for x in given]
        for x, now in zip(given, other, strict=True):
            if x.is_floating_point():
                now.div_(-2).requires_grad_(x.requires_grad)
        # Packed convolutions are the same to the last bit here, but may not be everywhere.
        for packed in (self.packed, None):
            try:
                recorded = recording(function, other, packed)
                if _same(recorded, function, given):
                    return recorded
                why = "a recording of it computes something else"
            except _CANNOT as error:
                why = str(error).strip().split("\n", 1)[0] or type(error).__name__
            if packed is None:
                break
            self.packed = None
        print(f"textreg: {self._name} runs operator by operator, slower ({why})", file=sys.stderr)
        return None


def values_and_gradients(function: Function, given: Sequence[Tensor]) -> list[list[Tensor]]:
    """A function's value, and its gradients where any are wanted, from some of the value's."""
    leaves = [x.detach().requires_grad_(x.requires_grad) for x in given]
    value = function(*leaves)
    asked = [x for x in leaves if x.requires_grad]
    if not asked or not torch.is_grad_enabled():
        return [[value], []]
    return [[value.detach()], list(torch.autograd.grad(value, asked, value.detach() / 2 + 1))]


def _same(ours: Function, theirs: Function, given: Sequence[Tensor]) -> bool:
    pairs = zip(values_and_gradients(ours, given), values_and_gradients(theirs, given), strict=True)
    return all(
        _same_bits(a, b) for found, wanted in pairs for a, b in zip(found, wanted, strict=True)
    )


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors lie alike and are equal: types, signs of zeros, and NaN, too."""
    if (a.dtype, a.shape, a.stride()) != (b.dtype, b.shape, b.stride()):
        return False
    equal = (a == b) & (a.signbit() == b.signbit())
    return bool((equal | (a.isnan() & b.isnan())).all())
