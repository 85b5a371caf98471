"""What ends a command with one line and no traceback: bad input (2), a failed concept (1).

Also the end of a group of processes that has lost one (3).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence


class UserError(ValueError):
    """Bad input. The message says what is wrong, with which value, where, and what to do."""


class QuarantineError(Exception):
    """A run whose other concepts are done, while these are in quarantine; exit code 1."""

    def __init__(self, lines: Mapping[str, str]):
        """Say what happened, a sentence each concept."""
        super().__init__("; ".join(lines.values()))
        self.lines = dict(lines)

    @property
    def concepts(self) -> frozenset[str]:
        """Who is in quarantine."""
        return frozenset(self.lines)


class GroupEnded(Exception):
    """Another process of the group is gone; what is on disk can go on; exit code 3."""


def nearest(word: str, known: Sequence[str]) -> str:
    """What to say beside a word that is none of the known: the nearest, or all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def of_machine(error: OSError | MemoryError | RuntimeError) -> str | None:
    """A full disk, a lost folder, too little memory, an operation refused; none: it is our fault.

    In one line, of files with the one that it struck.
    """
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    from textreg.determinism import refused
    from textreg.out_of_memory import FREE, shortage

    if (full := shortage(error)) is not None:
        return f"out of memory: {full} {FREE.capitalize()}"
    return refused(error) if isinstance(error, RuntimeError) else None
