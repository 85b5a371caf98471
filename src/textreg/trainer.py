"""The only training loop: a generator that yields one record a concept and step.

Progress, logs, tests and interfaces consume the same stream; to cancel, stop iterating: the state
is saved, and the same call goes on from there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any

from textreg.backbone import Backbone, load
from textreg.base_check import check_training
from textreg.base_digest import base_digest
from textreg.checkpoint import Checkpoint, newest_checkpoint, remove_partials, save_checkpoint
from textreg.concept import Folder
from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.data_parallel import micro_batches
from textreg.encoded_views import EncodedViews
from textreg.environment import environment
from textreg.errors import GroupEnded, QuarantineError, UserError
from textreg.front_watch import FrontWatch
from textreg.priors import prior_of, samples_of
from textreg.rank_metrics import deal, owners
from textreg.ranks import ALONE, Ranks
from textreg.run_folder import RunFolder
from textreg.run_pictures import check_pictures, content_hashes
from textreg.sample_prompts import check_prompts
from textreg.speed import chosen_way, on_record, with_way
from textreg.step_record import StepRecord, metrics_line
from textreg.training import Training
from textreg.wave_size import wave_size
from textreg.waves import Wave, waves_between, waves_of


def load_base(run: Run, ranks: Ranks = ALONE) -> Backbone:
    """The base that a run names, as it wants it, on this rank's device."""
    device = ranks.device(run.device)
    return load(run.base, revision=run.revision, device=device, dtype=run.dtype)


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
    folders: Sequence[Folder] | None = None,
    with_start: bool = False,
    between_waves: Callable[[], object] | None = None,
    take_over: bool = False,
    ranks: Ranks = ALONE,
) -> Generator[tuple[Training, list[StepRecord]]]:
    """As `steps`, one item a step, with the training itself to take adapters from.

    Args:
        run: as in `steps`.
        backbone: as in `steps`.
        folders: what `check_pictures` found, if that was asked already; a picture that changed
            since is refused.
        with_start: give the state that training goes on from as well, first and without records;
            whoever writes files at certain steps can so write one that a kill left out.
        between_waves: called before each wave, when all that was trained is saved.
        take_over: go on where a process of another machine is on record.
        ranks: the processes that train this run, each calling this; a rank gets the items of its
            own waves or, with fewer concepts than ranks, of all.
    """
    together = ranks.dividing_samples(len(run.concepts))
    parts = micro_batches(run, together)
    folders = check_pictures(run) if folders is None else folders
    place = RunFolder(run, ranks.rank)
    hashes = content_hashes(run, folders)
    if backbone is None:
        place.refuse_another(hashes)
        check_training(run, folders)
    holding = place.held(hashes, take_over=take_over) if ranks.first else nullcontext()
    with holding, ExitStack() as after:
        backbone = backbone or load_base(run, ranks)
        # As an earlier run may have left it: memory and time are measured before the first step.
        backbone.denoiser.keep_activations(True)
        if ranks.first:
            check_prompts(run, backbone)
            size = wave_size(run, place, backbone, ranks)
            samples = min(size, len(run.concepts)) * len(parts[0]) * samples_of(run)
            way, quick = chosen_way(run, place, backbone, samples)
            waves = waves_of(place.checkpoints, len(run.concepts), size)
            left = [number for number, wave in enumerate(waves) if wave.lost is None]
            digest = base_digest(backbone.files.place)
            names = [[c.name for c in run.concepts[wave.first : wave.end]] for wave in waves]
            deal(place, names, owners(names, left, ranks, together))
            remove_partials(place.views)
        else:
            ends, left, way, digest = ranks.plan()
            waves = waves_between(place.checkpoints, ends)
            size, names = 0, []
            quick = with_way(backbone, way)
        after.callback(quick.denoiser.end_training)
        writer = ranks.rank if together.first else None
        encoded = EncodedViews(place.views, _encoder(digest, backbone), writer=writer)
        lost = {k: v for w in waves if ranks.first for k, v in (w.lost or {}).items()}
        for number in left if together.size > 1 else left[ranks.rank :: ranks.size]:
            if between_waves:
                between_waves()
            wave = waves[number]
            own = slice(wave.first, wave.end)
            training = Training(run, quick, folders[own], run.concepts[own], together, encoded)
            if ranks.first:
                if not place.begun:
                    _refuse_later(run, backbone, folders, waves[number + 1 :])
                chosen = {"batch_concepts": size, "speed": on_record(way, backbone)}
                place.claim(hashes, digest, chosen)
                ranks.plan([[wave.end for wave in waves], left, way, digest])
            if len(waves) > 1 and together.first:
                here = ", ".join(c.name for c in training.concepts)
                print(f"textreg: wave {number + 1} of {len(waves)}: {here}", file=sys.stderr)
            front = FrontWatch(training, place)
            yield from _train(training, place, wave, front, with_start=with_start)
            lost |= _finish(training, place, front, wave if len(waves) > 1 else None)
            del training, front
        # If nothing was left to train, the cards still are.
        ranks.plan([[wave.end for wave in waves], left, way, digest])
        lost = {k: v for theirs in ranks.gather(lost) for k, v in theirs.items()}
        if ranks.first:
            deal(place, names)
            encoded.discard()
        if lost:
            raise QuarantineError({c.name: lost[c.name] for c in run.concepts if c.name in lost})


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


def _encoder(digest: str, backbone: Backbone) -> dict[str, Any]:
    """What decides a view's moments beside the picture, to the last bit."""
    packages = environment()["packages"]
    return {"base": digest, "device": backbone.device.type, "packages": packages}


def _train(
    training: Training, place: RunFolder, wave: Wave, front: FrontWatch, *, with_start: bool
) -> Iterator[tuple[Training, list[StepRecord]]]:
    """One wave, or what is left of it."""
    writes = training.ranks.first
    if not writes:
        training.ranks.gather(None)
    for line in training.prior.collect(training.texts, place.path, training.encoded):
        if writes:
            print(f"textreg: {line}", file=sys.stderr)
    if writes:
        training.ranks.gather(None)  # what was collected is there for the others
    saved = _resume(training, place, wave, front)
    # Whether state and metrics agree: only between two steps, never within one or within the
    # change of stages, where an interrupt would leave half a state to save.
    whole = False
    try:
        if with_start:
            yield training, []
        while training.advance():
            if training.step == 0 and writes:
                front.look([])
            try:
                records = training.take_step()
            except GroupEnded:
                # Known before the update, where the ranks' gradients meet: nothing has changed yet.
                whole = True
                raise
            if writes:
                records = front.look(records)
                place.note([json.dumps(metrics_line(r)) for r in records])
                if training.global_step % training.run.save_steps == 0:
                    saved = _save(training, wave, front)
            whole = True
            yield training, records
            whole = False
        whole = True
    finally:
        if whole and writes and saved != (training.stage_index, training.step):
            _save(training, wave, front)


def _finish(
    training: Training, place: RunFolder, front: FrontWatch, wave: Wave | None
) -> dict[str, str]:
    """Write the adapters of a training that is done; returns who has none, and why.

    Args:
        training: of one wave.
        place: the run's folder.
        front: what was seen of it.
        wave: to be closed, if it is one of several.
    """
    lost = training.quarantined()
    if not training.ranks.first:
        return lost
    for concept, adapter in zip(training.active, training.adapters(), strict=True):
        if concept.name not in lost:
            adapter.save(place.concept_folder(concept.name))
            front.finish(concept.name)
    for name in lost:
        front.discard(name)
    if wave is not None:
        wave.close(lost)
    return lost


def _resume(
    training: Training, place: RunFolder, wave: Wave, front: FrontWatch
) -> tuple[int, int] | None:
    names = {concept.name for concept in training.concepts}
    checkpoint, damaged = newest_checkpoint(wave.folder)
    for line in damaged if training.ranks.first else ():
        print(f"textreg: {line}", file=sys.stderr)
    if checkpoint is None:
        if training.ranks.first:
            place.truncate_metrics(0, names)
        return None
    if checkpoint.digest != training.digest:
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
    if not training.ranks.first:
        return checkpoint.stage, checkpoint.step
    if line := place.truncate_metrics(training.global_step, names):
        print(f"textreg: {line}", file=sys.stderr)
    return checkpoint.stage, checkpoint.step


def _save(training: Training, wave: Wave, front: FrontWatch) -> tuple[int, int]:
    save_checkpoint(
        wave.folder,
        Checkpoint(
            stage=training.stage_index,
            step=training.step,
            digest=training.digest,
            tensors=training.state() | front.state(),
        ),
    )
    return training.stage_index, training.step
