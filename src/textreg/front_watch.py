"""Looks at a wave while stage 2 trains, and keeps on disk what may be the best on the front.

Draws, noise and timesteps are the same at every look, so what differs is the edit. Nothing here
touches what trains: no gradient, no random state.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from textreg.batch import Batch, losses, noisy_batch
from textreg.checkpoint import delete_folder, refuse_unfit
from textreg.edits import Edits
from textreg.front import BEST, Look, best_of, look_steps, still_open, whole, write_front
from textreg.learned import adapter_of
from textreg.out_of_memory import memory_of
from textreg.randomness import Draws
from textreg.run_folder import RunFolder
from textreg.stages import Stage
from textreg.step_record import StepRecord
from textreg.training import Training

SAMPLES = 4
"""Fixed draws a concept and look, their timesteps one in each quarter of the schedule."""
_STATES = "front"
"""Folder of a concept's states that may be the best, by step, while it trains."""


class FixedDraws:
    """The denoising loss of the same draws at every look; drawn anew when the batch changes."""

    def __init__(self) -> None:
        self._drawn: tuple[Stage, int] | None = None
        self._batches: list[Batch] = []

    @torch.no_grad()
    def measure(self, training: Training) -> list[float]:
        """The loss of each concept of the batch, without a gradient."""
        wanted = training.stage, _draws_a_pass(training)
        if self._drawn != wanted:
            self._drawn, self._batches = wanted, _batches(training, wanted[1])
        projections = training.saved_edits().put_in(training.backbone.projections)
        found = [
            losses([batch], projections, training.backbone)[0] * batch.t.shape[1]
            for batch in self._batches
        ]
        return (torch.stack(found).sum(0) / SAMPLES).tolist()


def _batches(training: Training, size: int) -> list[Batch]:
    """The draws, so many of each concept in a piece."""
    timesteps = len(training.backbone.alphas_cumprod)
    found: list[Batch] = []
    for first in range(0, SAMPLES, size):
        draws = [
            [
                _spread((training.run.seed, concept.name, "front"), sample, timesteps)
                for sample in range(first, min(first + size, SAMPLES))
            ]
            for concept in training.active
        ]
        features, gate = training.stage.features(draws), training.stage.gate(draws)
        found.append(noisy_batch(training.latents, draws, features, training.backbone, gate=gate))
    return found


def _draws_a_pass(training: Training) -> int:
    """How many draws of each concept go through the denoiser at once.

    As many as a step's samples; or more, until a pass has all draws of one concept: without a
    gradient they take less memory than a single sample of a step. But no more than a step's where
    memory has cut it already, or where the first draw decides the others' shape.
    """
    size, settings = training.run.optimizer.batch_size, training.run.images
    if settings.buckets or training.memory.cut:
        return size
    return max(size, SAMPLES // len(training.active))


def _spread(key: tuple[int | str, ...], sample: int, timesteps: int) -> Draws:
    """The first draws whose timestep lies in this sample's share of the schedule."""
    return next(
        draws
        for draws in (Draws(*key, sample, n) for n in count())
        if draws.index("timestep", timesteps) * SAMPLES // timesteps == sample
    )


class FrontWatch:
    """What was seen of each concept of a wave so far."""

    def __init__(self, training: Training, place: RunFolder):
        self._training, self._place = training, place
        self._steps = look_steps(training.run.tuning.steps) if training.edits.drifting else []
        shape = (len(training.concepts), len(self._steps), 2)
        self._seen = torch.full(shape, math.nan, dtype=torch.float64)
        self._draws = FixedDraws()

    def state(self) -> dict[str, Tensor]:
        """For the checkpoint: loss and drift of each concept and look, NaN where none was yet."""
        return {"front": self._seen} if self._steps else {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the state to a checkpoint's; one of before there were looks has none."""
        if "front" in tensors:
            refuse_unfit(tensors, self.state())
            self._seen.copy_(tensors["front"])

    @memory_of("looking at the front", "a lower --batch-concepts or --resolution to a new run")
    def look(self, records: list[StepRecord]) -> list[StepRecord]:
        """Look, if this step is to be looked at; returns the records with what was seen."""
        training = self._training
        if training.stage_index != 1 or training.step not in self._steps:
            return records
        column = self._steps.index(training.step)
        seen = self._draws.measure(training)
        edits = training.saved_edits()
        if training.text_shift is None or edits.drifting is None:
            return records
        shifts = training.text_shift.measure(edits.drifting)
        for place, loss, shift in zip(training.places, seen, shifts, strict=True):
            drift = sum(shift.values()) / len(shift)
            self._seen[place, column] = torch.tensor([loss, drift], dtype=torch.float64)
        fronts = {
            training.concepts[place].name: self._keep(place, edits) for place in training.places
        }
        return [replace(record, front=fronts.get(record.concept)) for record in records]

    def _looks(self, place: int) -> list[Look]:
        """What was seen of a concept, in order of the steps."""
        numbers: list[list[float]] = self._seen[place].tolist()
        seen = [
            Look(step=step, loss=loss, drift=drift)
            for step, (loss, drift) in zip(self._steps, numbers, strict=True)
        ]
        return whole(seen)

    def _keep(self, place: int, edits: Edits) -> dict[str, float] | None:
        """Save this state if it may be the best, drop what no longer may; returns the record's."""
        training, looks = self._training, self._looks(place)
        if not looks or looks[-1].step != training.step:
            return None
        states = self._folder(place) / _STATES
        kept = {f"{look.step:07}" for look in still_open(looks)}
        here = f"{training.step:07}"
        if here in kept:
            adapter_of(training, training.places.index(place), edits).save(states / here)
        for old in sorted(states.glob("*")):
            if old.name not in kept:
                delete_folder(old)
        last = looks[-1]
        return {"loss": last.loss, "drift": last.drift, "best": best_of(looks).step}

    def finish(self, name: str) -> None:
        """Put the best state of a concept that is done into its folder `best`."""
        place = next(n for n, c in enumerate(self._training.concepts) if c.name == name)
        looks, folder = self._looks(place), self._folder(place)
        if not looks:
            return
        kept, best = folder / _STATES / f"{best_of(looks).step:07}", folder / BEST
        if kept.is_dir():
            delete_folder(best)
            kept.rename(best)
        elif not best.is_dir():
            print(f"textreg: {kept}: is gone, so no best state is marked", file=sys.stderr)
            return
        write_front(folder, looks, self._steps[-1])
        delete_folder(folder / _STATES)

    def discard(self, name: str) -> None:
        """Remove the states of a concept that ended in quarantine: none of them is its adapter."""
        delete_folder(self._place.concept_folder(name) / _STATES)

    def _folder(self, place: int) -> Path:
        return self._place.concept_folder(self._training.concepts[place].name)
