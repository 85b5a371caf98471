"""Ctrl-C and SIGTERM: the first asks for a clean stop, the second exits at once (exit code 3).

with stop_flag() as stop:
    for training, records in trainings(run):   # loading: a signal raises KeyboardInterrupt
        stop.immediate = False                 # from the first step on: only a flag
        if stop.is_set():
            break
    stop.at_once()                             # drawing, export: as while loading
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPED = 3
"""Exit code of a run that was stopped and can go on."""

_STDERR = 2
_SHOW_CURSOR = b"\x1b[?25h"
"""Progress bars hide it."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopFlag:
    """Whether somebody asked to stop."""

    def __init__(self, patient: bool = False) -> None:
        self._patient = patient
        self.immediate = True
        """While true a signal raises KeyboardInterrupt straight away: nothing is lost by it."""
        self._set = False

    def is_set(self) -> bool:
        """Whether a signal has arrived."""
        return self._set

    def at_once(self) -> None:
        """From here on nothing is lost by a stop: a signal raises, and so does one that came."""
        self.immediate = True
        if self._set:
            raise KeyboardInterrupt

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self._set and self._patient:
            return
        if self._set:
            if os.isatty(_STDERR):
                os.write(_STDERR, _SHOW_CURSOR)
            # No clean-up: what is on disk is whole, because every file is published by a rename.
            os._exit(STOPPED)
        self._set = True
        if self.immediate:
            raise KeyboardInterrupt
        # os.write, not print: a handler may run inside print, which does not nest.
        if not self._patient:
            os.write(_STDERR, b"\nstopping after this step; once more to stop at once\n")


@contextmanager
def stop_flag(*, patient: bool = False) -> Generator[StopFlag]:
    """Catch SIGINT and SIGTERM inside the block; the handlers of before come back after it.

    Args:
        patient: ignore all signals but the first, and say nothing: torchrun does, sends its own
            after the terminal's, and ends a process that does not stop.
    """
    flag = StopFlag(patient)
    if threading.current_thread() is not threading.main_thread():
        yield flag  # only the main thread may set handlers
        return
    before: dict[int, Any] = {number: signal.signal(number, flag.handle) for number in _SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
