"""Out of memory outside a training step: one line with the phase, the numbers and what to do.

A step has more to try before that (memory_limit.py).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from textreg.errors import UserError

_OF_THE_CPU = ("DefaultCPUAllocator", "not enough memory", "Cannot allocate memory")
"""In the RuntimeError of torch's allocator, which has no type of its own."""
FREE = "free memory of this device, then give the same command again"


def shortage(error: BaseException) -> str | None:
    """A sentence of what an error says of memory; none: it is another error."""
    said = str(error).strip().split("\n", 1)[0].rstrip(".")
    if isinstance(error, MemoryError):
        return f"{said or 'the system gives no more'}."
    of_the_cpu = isinstance(error, RuntimeError) and any(words in said for words in _OF_THE_CPU)
    return f"{said}." if of_the_cpu or isinstance(error, torch.OutOfMemoryError) else None


@contextmanager
def memory_of(phase: str, advice: str) -> Generator[None]:
    """Say in one line that this phase, as a whole or as a decorated function, ran out of memory.

    Args:
        phase: what is done, as in "loading the base".
        advice: what else than to free memory would need less.

    Raises:
        UserError: in the place of any error that is about memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if (full := shortage(error)) is None:
            raise
        raise UserError(f"out of memory while {phase}: {full} Give {advice}, or {FREE}") from None
