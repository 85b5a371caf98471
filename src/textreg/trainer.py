"""The only training loop: a generator that yields one record a concept and step.

Progress, logs, tests and interfaces consume the same stream; to cancel, stop iterating: the state
is saved, and the same call goes on from there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from textreg.backbone import Backbone, load
from textreg.base_check import check_training
from textreg.base_digest import base_digest
from textreg.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from textreg.concept import Folder, inspect_folder
from textreg.concept_optimizer import require_optimizer
from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.errors import UserError
from textreg.front_watch import FrontWatch
from textreg.priors import prior_of
from textreg.quarantine import failure
from textreg.run_folder import RunFolder
from textreg.settings import require_steps
from textreg.step_record import StepRecord, metrics_line
from textreg.training import Training
from textreg.wave_size import wave_size
from textreg.waves import Wave, waves_of


def check_pictures(run: Run) -> list[Folder]:
    """Read every concept's pictures and the prior's settings, before anything slow.

    Raises:
        UserError: the first problem, by file; or there is no step to take; or a package is missing.
    """
    require_steps(run)
    prior_of(run)
    require_optimizer(run)
    folders = [
        inspect_folder(concept.images, settings=run.images, masks=concept.masks)
        for concept in run.concepts
    ]
    for folder in folders:
        if folder.errors:
            first, *others = folder.errors
            raise UserError(f"{first} (and {len(others)} more)" if others else first)
    return folders


def load_base(run: Run) -> Backbone:
    """The base that a run names, as it wants it."""
    return load(run.base, revision=run.revision, device=run.device, dtype=run.dtype)


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
    run: Run,
    backbone: Backbone | None = None,
    *,
    with_start: bool = False,
    take_over: bool = False,
) -> Iterator[tuple[Training, list[StepRecord]]]:
    """As `steps`, one item a step, with the training itself to take adapters from.

    Args:
        run: as in `steps`.
        backbone: as in `steps`.
        with_start: give the state that training goes on from as well, first and without records;
            whoever writes files at certain steps can so write one that a kill left out.
        take_over: go on where a process of another machine is on record.
    """
    folders = check_pictures(run)
    place = RunFolder(run)
    hashes = content_hashes(run, folders)
    if backbone is None:
        place.refuse_another(hashes)
        check_training(run, folders)
    with place.held(hashes, take_over=take_over):
        backbone = backbone or load_base(run)
        size = wave_size(run, place, backbone)
        waves = waves_of(place.checkpoints, len(run.concepts), size)
        lost: dict[str, str] = {}
        digest = base_digest(backbone.files.place)
        for number, wave in enumerate(waves, 1):
            if wave.lost is None:
                training = Training(
                    run,
                    backbone,
                    folders[wave.first : wave.end],
                    run.concepts[wave.first : wave.end],
                )
                if not place.begun:
                    _refuse_later(run, backbone, folders, waves[number:])
                place.claim(hashes, digest, {"batch_concepts": size})
                if len(waves) > 1:
                    names = ", ".join(c.name for c in training.concepts)
                    print(f"textreg: wave {number} of {len(waves)}: {names}", file=sys.stderr)
                front = FrontWatch(training, place)
                yield from _train(training, place, wave, front, with_start=with_start)
                wave_lost = _finish(training, place, front)
                del training, front
                if len(waves) > 1:
                    wave.close(wave_lost)
            else:
                wave_lost = wave.lost
            lost |= wave_lost
        if lost:
            raise failure(lost)


def _refuse_later(
    run: Run, backbone: Backbone, folders: Sequence[Folder], waves: Sequence[Wave]
) -> None:
    """Refuse now what a later wave could not begin with."""
    for wave in waves:
        own = slice(wave.first, wave.end)
        texts = [
            ConceptTexts.of_run(run, c, backbone, folder.annotations)
            for c, folder in zip(run.concepts[own], folders[own], strict=True)
        ]
        for t in texts:
            t.tokens(t.fill(t.instance.templates))
        prior_of(run).check(texts)


def content_hashes(run: Run, folders: Sequence[Folder]) -> dict[str, list[str]]:
    """What the run's record keeps of the pictures, and of what lies beside them."""
    return {
        key: hashes
        for concept, folder in zip(run.concepts, folders, strict=True)
        for key, hashes in folder.record(concept.name).items()
    }


def _train(
    training: Training, place: RunFolder, wave: Wave, front: FrontWatch, *, with_start: bool
) -> Iterator[tuple[Training, list[StepRecord]]]:
    """One wave, or what is left of it."""
    for line in training.prior.collect(training.texts, place.path):
        print(f"textreg: {line}", file=sys.stderr)
    saved = _resume(training, place, wave, front)
    # Whether state and metrics agree: only between two steps, never within one or within the
    # change of stages, where an interrupt would leave half a state to save.
    whole = False
    try:
        if with_start:
            yield training, []
        while training.advance():
            if training.step == 0:
                front.look([])
            records = front.look(training.take_step())
            place.note([json.dumps(metrics_line(r)) for r in records])
            if training.global_step % training.run.save_steps == 0:
                saved = _save(training, wave, front)
            whole = True
            yield training, records
            whole = False
        whole = True
    finally:
        if whole and saved != (training.stage_index, training.step):
            _save(training, wave, front)


def _finish(training: Training, place: RunFolder, front: FrontWatch) -> dict[str, str]:
    """Write the adapters of a wave that is done; returns who has none, and why."""
    lost = training.quarantined()
    for concept, adapter in zip(training.active, training.adapters(), strict=True):
        if concept.name not in lost:
            adapter.save(place.concept_folder(concept.name))
            front.finish(concept.name)
    return lost


def _resume(
    training: Training, place: RunFolder, wave: Wave, front: FrontWatch
) -> tuple[int, int] | None:
    names = {concept.name for concept in training.concepts}
    checkpoint, damaged = newest_checkpoint(wave.folder)
    for line in damaged:
        print(f"textreg: {line}", file=sys.stderr)
    if checkpoint is None:
        place.truncate_metrics(0, names)
        return None
    if checkpoint.digest != training.run.digest:
        raise UserError(
            f"{wave.folder}: belongs to another run; choose another --out, or delete that "
            "folder to start over"
        )
    try:
        front.restore(checkpoint.tensors)
        own = {k: v for k, v in checkpoint.tensors.items() if k not in front.state()}
        training.restore(replace(checkpoint, tensors=own))
    except UserError as error:
        raise UserError(
            f"{wave.folder}: its checkpoint {error}; it is of another version of this package, or "
            "was changed: delete that folder to train anew, or choose another --out"
        ) from None
    if line := place.truncate_metrics(training.global_step, names):
        print(f"textreg: {line}", file=sys.stderr)
    return checkpoint.stage, checkpoint.step


def _save(training: Training, wave: Wave, front: FrontWatch) -> tuple[int, int]:
    save_checkpoint(
        wave.folder,
        Checkpoint(
            stage=training.stage_index,
            step=training.step,
            digest=training.run.digest,
            tensors=training.state() | front.state(),
        ),
    )
    return training.stage_index, training.step
