"""Losses and drift to a tracker: one more consumer of the records. Imports no torch by itself.

tensorboard: event files in RUN/tensorboard    wandb: the project "textreg", one W&B run a folder
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from textreg.config import Run, plain
from textreg.errors import UserError

if TYPE_CHECKING:
    from textreg.training import StepRecord

TRACKERS = ("tensorboard", "wandb")


@contextmanager
def tracker(name: str | None, run: Run) -> Generator[Callable[[StepRecord], None]]:
    """A function that takes each record of a run; with no name it does nothing.

    Raises:
        UserError: the tracker's package is not installed.
    """
    if name is None:
        yield lambda record: None
        return
    log = {"tensorboard": _TensorBoard, "wandb": _WandB}[name](run)
    try:
        yield log.write
    finally:
        log.close()


def scalars(record: StepRecord) -> dict[str, float]:
    """A record's numbers by name: cat/loss/total, cat/drift/class, cat/learning_rate, ..."""
    numbers = {f"loss/{name}": value for name, value in record.losses.items()}
    numbers |= {f"drift/{pool}": value for pool, value in (record.drift or {}).items()}
    numbers |= {f"front/{name}": value for name, value in (record.front or {}).items()}
    numbers |= {"learning_rate": record.learning_rate, "seconds": record.seconds}
    return {f"{record.concept}/{name}": value for name, value in numbers.items()}


class _TensorBoard:
    def __init__(self, run: Run):
        self._open = _package("tensorboard", "torch.utils.tensorboard").SummaryWriter
        self._folder = str(run.out / "tensorboard")
        self._writer: Any = None

    def write(self, record: StepRecord) -> None:
        if self._writer is None:
            # Steps that a resumed run takes again replace those of before.
            self._writer = self._open(self._folder, purge_step=record.global_step)
        for name, value in scalars(record).items():
            self._writer.add_scalar(name, value, record.global_step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _WandB:
    def __init__(self, run: Run):
        self._open = _package("wandb", "wandb").init
        self._run = run
        self._session: Any = None

    def write(self, record: StepRecord) -> None:
        if self._session is None:
            folder = str(self._run.out.resolve())
            self._session = self._open(
                project="textreg",
                name=self._run.out.name,
                id=hashlib.sha256(f"{folder} {self._run.digest}".encode()).hexdigest()[:16],
                resume="allow",
                dir=str(self._run.out),
                config=plain(self._run),
            )
        self._session.log(scalars(record), step=record.global_step)

    def close(self) -> None:
        if self._session is not None:
            self._session.finish()


def _package(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise UserError(
            f"--track {name}: the package {name} is not installed; pip install 'textreg[track]'"
        ) from None
