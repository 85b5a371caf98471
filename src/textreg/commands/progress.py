"""Progress in the terminal: where a run is, its loss, its drift, and when it will be done."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from textreg.config import Run


def new_progress(*, shown: bool = True) -> Progress:
    """A bar with counts, elapsed and remaining time, on stderr."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*columns, console=Console(file=sys.stderr), disable=not shown)


class TrainingProgress:
    """One bar for both stages."""

    def __init__(self, run: Run, *, shown: bool = True):
        """Not shown: one process of several, of which only faults are heard."""
        self._run, self._shown = run, shown
        self._progress = new_progress(shown=shown)
        self._task = self._progress.add_task("loading", total=run.total_steps, note="")
        self._drift = ""

    def __enter__(self) -> TrainingProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def tell(self, line: str) -> None:
        """As `say`, if the bar is shown."""
        if self._shown:
            self.say(line)

    def show(self, record: object) -> None:
        """Move the bar to a step's record."""
        from textreg.training import StepRecord

        assert isinstance(record, StepRecord)
        if record.fault is not None:
            self.say(record.fault)
        if record.drift is not None:
            if not self._drift:
                self.tell(f"drift: % of keys and values, {'/'.join(record.drift)} prompts")
            shifts = "/".join(f"{100 * shift:.2g}" for shift in record.drift.values())
            self._drift = f" drift {shifts}"
        self._progress.update(
            self._task,
            completed=record.global_step,
            description=record.stage,
            note=f"loss {record.losses['total']:.3f}{self._drift}",
        )
        if record.global_step == self._run.total_steps:
            self._progress.update(self._task, note="drawing the model card")
