"""The only training loop: a generator that yields one record a concept and step.

Progress, logs, tests and interfaces consume the same stream; to cancel, stop iterating: the state
is saved, and the same call goes on from there.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from textreg.backbone import Backbone, load
from textreg.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from textreg.concept import Folder, inspect_folder
from textreg.config import Run
from textreg.errors import UserError
from textreg.priors import prior_of
from textreg.quarantine import failure
from textreg.run_folder import RunFolder
from textreg.settings import require_steps
from textreg.training import StepRecord, Training


def check_pictures(run: Run) -> list[Folder]:
    """Read every concept's pictures and the prior's settings, before anything slow.

    Raises:
        UserError: the first problem, by file; or there is no step to take.
    """
    require_steps(run)
    prior_of(run)
    folders = [
        inspect_folder(concept.images, settings=run.images, masks=concept.masks)
        for concept in run.concepts
    ]
    for folder in folders:
        if folder.errors:
            first, *others = folder.errors
            raise UserError(f"{first} (and {len(others)} more)" if others else first)
    return folders


def steps(run: Run, backbone: Backbone | None = None) -> Iterator[StepRecord]:
    """Train a run, or what is left of it, step by step.

    Args:
        run: what to do; its folder is created, or continued if it holds the same run.
        backbone: the base, if it is loaded already.

    Yields:
        A record of each concept at each step. Stop iterating to cancel.

    Raises:
        UserError: anything in the input that cannot work, before anything slow.
        QuarantineError: at the end, when concepts are in quarantine; the others are saved.
    """
    for training, records in trainings(run, backbone):
        del training
        yield from records


def trainings(
    run: Run, backbone: Backbone | None = None, *, with_start: bool = False
) -> Iterator[tuple[Training, list[StepRecord]]]:
    """As `steps`, one item a step, with the training itself to take adapters from.

    Args:
        run: as in `steps`.
        backbone: as in `steps`.
        with_start: give the state that training goes on from as well, first and without records;
            whoever writes files at certain steps can so write one that a kill left out.
    """
    folders = check_pictures(run)
    place = RunFolder(run)
    hashes = content_hashes(run, folders)
    with place.held(hashes):
        backbone = backbone or load(
            run.base, revision=run.revision, device=run.device, dtype=run.dtype
        )
        training = Training(run, backbone, folders)
        place.claim(hashes)
        for line in training.prior.collect(training.texts, place.path):
            print(f"textreg: {line}", file=sys.stderr)
        saved = _resume(training, place)
        # Whether state and metrics agree: only between two steps, never within one or within the
        # change of stages, where an interrupt would leave half a state to save.
        whole = False
        try:
            if with_start:
                yield training, []
            with place.metrics.open("a") as metrics:
                while training.advance():
                    records = training.take_step()
                    metrics.writelines(json.dumps(_line(r)) + "\n" for r in records)
                    if training.global_step % run.save_steps == 0:
                        metrics.flush()
                        saved = _save(training, place)
                    whole = True
                    yield training, records
                    whole = False
            whole = True
        finally:
            if whole and saved != (training.stage_index, training.step):
                _save(training, place)
        lost = training.quarantined()
        for concept, adapter in zip(run.concepts, training.adapters(), strict=True):
            if concept.name not in lost:
                adapter.save(place.concept_folder(concept.name))
        if lost:
            raise failure(lost)


def content_hashes(run: Run, folders: Sequence[Folder]) -> dict[str, list[str]]:
    """What the run's record keeps of the pictures, and of what lies beside them."""
    return {
        key: hashes
        for concept, folder in zip(run.concepts, folders, strict=True)
        for key, hashes in folder.record(concept.name).items()
    }


def _line(record: StepRecord) -> dict[str, Any]:
    line = {k: v for k, v in asdict(record).items() if v is not None}
    # JSON has no NaN.
    line["losses"] = {k: v if math.isfinite(v) else None for k, v in record.losses.items()}
    return line


def _resume(training: Training, place: RunFolder) -> tuple[int, int] | None:
    checkpoint, damaged = newest_checkpoint(place.checkpoints)
    for line in damaged:
        print(f"textreg: {line}", file=sys.stderr)
    if checkpoint is None:
        place.truncate_metrics(0)
        return None
    if checkpoint.digest != training.run.digest:
        raise UserError(
            f"{place.checkpoints}: belongs to another run; choose another --out, or delete that "
            "folder to start over"
        )
    training.restore(checkpoint)
    place.truncate_metrics(training.global_step)
    return checkpoint.stage, checkpoint.step


def _save(training: Training, place: RunFolder) -> tuple[int, int]:
    save_checkpoint(
        place.checkpoints,
        Checkpoint(
            stage=training.stage_index,
            step=training.step,
            digest=training.run.digest,
            tensors=training.state(),
        ),
    )
    return training.stage_index, training.step
