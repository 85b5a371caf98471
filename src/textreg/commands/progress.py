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
from textreg.ranks import ALONE, Ranks
from textreg.step_record import StepRecord


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
        # Folders' names may hold brackets, which rich would read as colours.
        TextColumn("{task.fields[note]}", markup=False),
    )
    return Progress(*columns, console=Console(file=sys.stderr), disable=not shown)


class TrainingProgress:
    """One bar over both stages of every wave, in steps of all concepts together."""

    def __init__(self, run: Run, ranks: Ranks = ALONE):
        """Of several processes the first shows it; the others tell the faults of their own waves.

        Args:
            run: what is trained.
            ranks: the processes that train it.
        """
        self._run, self._shown = run, ranks.first
        together = ranks.dividing_samples(len(run.concepts))
        self._heard = together.first
        # The others are as far with waves of their own.
        self._waves = ranks.size if together.size == 1 else 1
        self._places = {concept.name: n for n, concept in enumerate(run.concepts)}
        self._progress = new_progress(shown=self._shown)
        self._total = run.total_steps * len(run.concepts)
        self._task = self._progress.add_task("loading", total=self._total, note="")
        self._drift = ""
        self._first, self._last, self._step = 0, -1, 0
        """Places of the wave's first and last concept that were seen, and its step."""

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

    def show(self, record: StepRecord) -> None:
        """Move the bar to a step's record."""
        if self._last < 0:
            self.tell(f"training into {self._run.out}; Ctrl-C stops, the same command goes on")
        if record.fault is not None and self._heard:
            self.say(record.fault)
        if record.drift is not None:
            if not self._drift:
                self.tell(f"drift: % of keys and values, {'/'.join(record.drift)} prompts")
            shifts = "/".join(f"{100 * shift:.2g}" for shift in record.drift.values())
            self._drift = f" drift {shifts}"
        done = self._done(record)
        finished = done == self._total
        self._progress.update(
            self._task,
            completed=done,
            description=record.stage,
            note="drawing the model card"
            if finished
            else f"loss {record.losses['total']:.3f}{self._drift}",
        )

    def _done(self, record: StepRecord) -> int:
        """Steps of all concepts that are done: whole waves, and this one so far, on every rank.

        Waves follow each other in the order of the concepts, and each begins at a lower step than
        the one before it ended at; a concept in quarantine counts with its wave.
        """
        place, total = self._places[record.concept], self._run.total_steps
        if self._last < 0 or record.global_step < self._step:
            self._first = place
        self._last, self._step = max(self._last, place), record.global_step
        here = record.global_step * (self._last - self._first + 1)
        return min(total * self._first + here * self._waves, self._total)
