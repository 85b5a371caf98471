"""Where a thread's time goes, by looking at its stack at short intervals.

Nothing is wrapped, so what is measured is what runs; the parts are told apart by their files.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import FrameType, TracebackType

Rule = tuple[str, str, str | None]
"""A part's name, the end of a file's path, and a function in it (none: any)."""

REST = "rest"


class StackProfile:
    """A context manager; `shares` are the parts' shares of the time inside."""

    def __init__(self, rules: Sequence[Rule], interval: float = 0.002):
        self._rules, self._interval = rules, interval
        self._watched = threading.get_ident()
        self._stop = threading.Event()
        self._seen: Counter[str] = Counter()

    def __enter__(self) -> StackProfile:
        # Pure Python gives way to the looking thread only so often.
        self._switch = sys.getswitchinterval()
        sys.setswitchinterval(min(self._switch, self._interval / 4))
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        sys.setswitchinterval(self._switch)

    def _look(self) -> None:
        while not self._stop.is_set():
            self._seen[part_of(sys._current_frames()[self._watched], self._rules)] += 1
            time.sleep(self._interval)

    @property
    def looks(self) -> int:
        """How often was looked."""
        return self._seen.total()

    def shares(self) -> dict[str, float]:
        """Share of the time of every part of the rules, and of the rest."""
        parts = [*dict.fromkeys(name for name, _, _ in self._rules), REST]
        return {part: self._seen[part] / max(1, self.looks) for part in parts}


def part_of(frame: FrameType | None, rules: Sequence[Rule]) -> str:
    """The first rule that any frame of the stack meets."""
    stack: list[tuple[str, str]] = []
    while frame is not None:
        stack.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    for name, file, function in rules:
        if any(path.endswith(file) and function in (None, called) for path, called in stack):
            return name
    return REST
