"""Short runs of textreg to be timed: what is trained, and how long a step of it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import yaml

from textreg.backbone import Backbone
from textreg.concept_names import concept_noun
from textreg.config import Run
from textreg.method import recorded_passes
from textreg.run_folder import RunFolder
from textreg.settings import build_run
from textreg.trainer import steps
from textreg.training import StepRecord

StageName = Literal["inversion", "tuning"]


def settings_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Settings as typed: ["a.b=1", "c=x"] as {"a.b": 1, "c": "x"}; any key of a run."""
    return {key: yaml.safe_load(value) for key, value in (pair.split("=", 1) for pair in pairs)}


def concept_folders(data: Path, first: str = "cat") -> list[Path]:
    """Folders of the Concept Set, `first` before the others, which come by name."""
    folders = sorted(p for p in data.iterdir() if p.is_dir())
    return [data / first, *(p for p in folders if p.name != first)]


RUN_STEPS = 300
"""Of a run whose first steps are timed: what is done ten times a run has a real run's share."""


def training_run(
    folders: Sequence[Path], out: Path, stage: StageName, count: int = RUN_STEPS, **settings: Any
) -> Run:
    """A run of `count` steps of one stage, one concept a folder, batch 1.

    One view a picture: each is encoded in the warm-up, so that a step timed after it is a step as
    in the middle of a long run, where every view is cached. No checkpoint and no picture is drawn.
    """
    concepts = [
        {"images": folder, "noun": concept_noun(folder.name), "identifier": f"<krk{n}>"}
        for n, folder in enumerate(folders, 1)
    ]
    flags: dict[str, Any] = {
        "concepts": concepts,
        "out": out,
        "images.views": 1,
        "optimizer.batch_size": 1,
        "inversion.steps": count if stage == "inversion" else 0,
        "tuning.steps": count if stage == "tuning" else 0,
        "save_steps": 10**6,
        "card_pictures": 0,
    }
    return build_run(flags | settings)


def first_batch(run: Run) -> int:
    """How many concepts trained together first, of a run that has begun."""
    return min(RunFolder(run).chosen("batch_concepts"), len(run.concepts))


class Moment(NamedTuple):
    """When something was over: by the clock, and in CPU time of this process."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Moment:
        """This moment."""
        return cls(time.perf_counter(), time.process_time())


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """Time from each update to the next, and the concepts that the update was for."""

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    concepts: tuple[int, ...]

    @classmethod
    def between(cls, ended: Sequence[Moment], concepts: Sequence[int]) -> StepTimes:
        """From when each update was over, and how many concepts it was for."""
        pairs = list(pairwise(ended))
        return cls(
            seconds=tuple(b.wall - a.wall for a, b in pairs),
            cpu_seconds=tuple(b.cpu - a.cpu for a, b in pairs),
            concepts=tuple(concepts[1:]),
        )

    @property
    def per_concept(self) -> float:
        """Median seconds a concept-step."""
        return self._median(self.seconds)

    @property
    def cpu_per_concept(self) -> float:
        """The same in CPU time, which a busy machine changes less."""
        return self._median(self.cpu_seconds)

    @property
    def fast_per_concept(self) -> float:
        """The tenth part of the steps that is fastest takes at most this."""
        return sorted(self._each(self.seconds))[len(self.seconds) // 10]

    def _median(self, seconds: Sequence[float]) -> float:
        return statistics.median(self._each(seconds))

    def _each(self, seconds: Sequence[float]) -> list[float]:
        return [s / n for s, n in zip(seconds, self.concepts, strict=True)]

    @property
    def mean_per_concept(self) -> float:
        """Whole time by concept-steps: what is rare counts as well."""
        return sum(self.seconds) / sum(self.concepts)


@contextmanager
def recorded_at_once() -> Generator[None]:
    """Denoiser and text encoder record a shape at its second pass, in the warm-up.

    So a step is timed as in the middle of a run.
    """
    before = recorded_passes.COMES_BACK
    recorded_passes.COMES_BACK = 1
    try:
        yield
    finally:
        recorded_passes.COMES_BACK = before


def time_steps(
    run: Run,
    backbone: Backbone,
    warm_up: int,
    count: int,
    watch: AbstractContextManager[Any] | None = None,
) -> StepTimes:
    """Train the first `count` updates of a run; times after the first `warm_up` of them.

    Everything counts that happens between two updates: drawing, logging, measuring drift.

    Args:
        run: what to train.
        backbone: the base.
        warm_up: updates before the first time.
        count: updates in all.
        watch: entered for those that are timed.
    """
    updates = _updates(steps(run, backbone), backbone.device)
    with recorded_at_once():
        first = list(islice(updates, warm_up))
    with watch or nullcontext():
        return _times([*first, *islice(updates, count - warm_up)], warm_up)


def _updates(records: Iterable[StepRecord], device: torch.device) -> Iterator[tuple[Moment, int]]:
    """When each update was over, and how many concepts it was for.

    Concepts that share a batch come as consecutive records of the same step.
    """
    group: list[StepRecord] = []
    ended = Moment(0.0, 0.0)
    for record in records:
        if group and (
            (record.stage, record.step) != (group[0].stage, group[0].step)
            or record.concept in [r.concept for r in group]
        ):
            yield ended, len(group)
            group = []
        if not group:
            # The records of one update arrive together, when it is over.
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            ended = Moment.now()
        group.append(record)
    if group:
        yield ended, len(group)


def _times(updates: Sequence[tuple[Moment, int]], warm_up: int) -> StepTimes:
    if len(updates) < warm_up + 2:
        raise ValueError(f"{len(updates)} updates leave none to time after {warm_up} of warm-up")
    kept = updates[warm_up:]
    return StepTimes.between([ended for ended, _ in kept], [n for _, n in kept])
