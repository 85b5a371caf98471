"""Losses, drift and samples to a tracker: one more consumer of them. Imports no torch by itself.

tensorboard: event files in RUN/tensorboard/CONCEPT
wandb: the project "textreg", one W&B run a folder
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from textreg.config import Run, plain
from textreg.dependencies import optional

if TYPE_CHECKING:
    from textreg.training import StepRecord
    from textreg.training_samples import StepPicture

TRACKERS = ("tensorboard", "wandb")


class Tracker(Protocol):
    """What takes the records and the samples of a run."""

    def write(self, record: StepRecord) -> None:
        """Log a record's numbers."""
        ...

    def picture(self, picture: StepPicture) -> None:
        """Log a sample."""
        ...


@contextmanager
def tracker(name: str | None, run: Run) -> Generator[Tracker]:
    """What takes each record and sample of a run; with no name it does nothing.

    Raises:
        UserError: the tracker's package is not installed.
    """
    if name is None:
        yield _Nothing()
        return
    log = {"tensorboard": _TensorBoard, "wandb": _WandB}[name](run)
    try:
        yield log
    finally:
        log.close()


def scalars(record: StepRecord) -> dict[str, float]:
    """A record's numbers by name: cat/loss/total, cat/drift/class, cat/learning_rate, ..."""
    numbers = {f"loss/{name}": value for name, value in record.losses.items()}
    numbers |= {f"drift/{pool}": value for pool, value in (record.drift or {}).items()}
    numbers |= {f"front/{name}": value for name, value in (record.front or {}).items()}
    numbers |= {"learning_rate": record.learning_rate, "seconds": record.seconds}
    return {f"{record.concept}/{name}": value for name, value in numbers.items()}


class _Nothing:
    def write(self, record: StepRecord) -> None:
        pass

    def picture(self, picture: StepPicture) -> None:
        pass


class _TensorBoard:
    def __init__(self, run: Run):
        self._open = _package("tensorboard", "torch.utils.tensorboard").SummaryWriter
        self._folder = run.out / "tensorboard"
        self._writers: dict[str, Any] = {}

    def write(self, record: StepRecord) -> None:
        writer = self._from(record.concept, record.global_step)
        for name, value in scalars(record).items():
            writer.add_scalar(name, value, record.global_step)

    def picture(self, picture: StepPicture) -> None:
        import numpy as np

        # If it comes before any record, its step was taken, and logged, before the run went on.
        writer = self._from(picture.concept, picture.global_step + 1)
        name, pixels = _picture_name(picture), np.asarray(picture.image)
        writer.add_image(name, pixels, picture.global_step, dataformats="HWC")

    def _from(self, concept: str, step: int) -> Any:
        if concept not in self._writers:
            # Steps that a resumed run takes again replace those of before. That purges a whole
            # folder, and in waves each concept counts from its own first step.
            folder = str(self._folder / concept)
            self._writers[concept] = self._open(folder, purge_step=step)
        return self._writers[concept]

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class _WandB:
    def __init__(self, run: Run):
        self._module = _package("wandb", "wandb")
        self._run = run
        self._session: Any = None

    def write(self, record: StepRecord) -> None:
        self._log(scalars(record), record.global_step)

    def picture(self, picture: StepPicture) -> None:
        image = self._module.Image(picture.image, caption=picture.prompt)
        self._log({_picture_name(picture): image}, picture.global_step)

    def _log(self, values: dict[str, Any], step: int) -> None:
        if self._session is None:
            folder = str(self._run.out.resolve())
            self._session = self._module.init(
                project="textreg",
                name=self._run.out.name,
                id=hashlib.sha256(f"{folder} {self._run.digest}".encode()).hexdigest()[:16],
                resume="allow",
                dir=str(self._run.out),
                config=plain(self._run),
            )
            # W&B's own step only grows; in waves each concept counts from its own first step.
            self._session.define_metric("global_step")
            self._session.define_metric("*", step_metric="global_step")
        self._session.log(values | {"global_step": step})

    def close(self) -> None:
        if self._session is not None:
            self._session.finish()


def _picture_name(picture: StepPicture) -> str:
    return f"{picture.concept}/samples/{picture.prompt}"


def _package(name: str, module: str) -> Any:
    return optional(module, f"--track {name}", name, "track")
