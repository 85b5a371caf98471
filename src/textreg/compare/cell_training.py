"""Train what is left of a comparison's runs, and keep the concept at the steps of the curve.

All concepts of a prior and seed train in one batch: the frozen model is gone through once a step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from textreg.backbone import Backbone
from textreg.compare.batches import batches_of, clear_dropped, drop, hand_out, together
from textreg.compare.cells import STATES, Cell
from textreg.compare.class_folders import draw_class_pictures, shares_class_pictures
from textreg.compare.failures import done, failure_line, failure_of, record_failure
from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.errors import QuarantineError
from textreg.evaluate.questions import Questions
from textreg.learning import write_cards
from textreg.priors import prior_of
from textreg.run_folder import RunFolder
from textreg.trainer import trainings

OnStep = Callable[[Run, int], bool]
"""Told (run, steps done in it); returning True stops after that step."""
OnDrawing = Callable[[Path], object]
"""Told the folder of class pictures that are drawn until the next step; no interrupt loses any."""


def refuse_unfit_cells(
    cells: Sequence[Cell],
    asked: Mapping[str, Questions],
    backbone: Callable[[], Backbone],
    out: Path,
) -> None:
    """Refuse a prior that this base cannot do, or an edit it cannot read, before the first step.

    Args:
        cells: those that are done are not looked at.
        asked: by concept, what it will be asked.
        backbone: gives the base; called only if something is to be trained.
        out: the comparison's folder.

    Raises:
        UserError: says what the base lacks, or in which edit the identifier is cut off.
    """
    for cell in cells:
        if cell.run.seed == cells[0].run.seed and _is_left(cell):
            run = cell.run
            if shares_class_pictures(run, out):  # not drawn yet
                run = replace(run, class_images=replace(run.class_images, folder=None))
            (concept,) = run.concepts
            texts = ConceptTexts.of_run(run, concept, backbone())
            texts.tokens([edit.of(concept.words) for edit in asked[concept.name].edits])
            prior_of(run).check([texts])


def _is_left(cell: Cell) -> bool:
    return failure_of(cell.word) is None and not done(cell.run)


def train_cells(
    cells: Sequence[Cell],
    backbone: Callable[[], Backbone],
    out: Path,
    on_step: OnStep,
    on_drawing: OnDrawing = lambda folder: None,
) -> bool:
    """Train cells, first their words and their class pictures where they are missing.

    A concept that ends in quarantine is told on stderr, stays that (failures.py) and stops no
    other.

    Args:
        cells: what to train; those that are done are left as they are.
        backbone: gives the base; called only if something is to be trained.
        out: the comparison's folder.
        on_step: told of each step.
        on_drawing: told of class pictures; what it raises loses none.

    Returns:
        False if it was stopped; the same call then goes on.
    """
    clear_dropped(out / "batches")
    for some in _alike(cells, lambda cell: cell.word):
        words = list({cell.word.out: cell.word for cell in some}.values())
        if not _train(words, backbone, (), on_step, out):
            return False
    for some in _alike(cells, lambda cell: cell.run):
        runs = [cell.run for cell in some if failure_of(cell.word) is None]
        for run in runs:
            if not done(run):
                draw_class_pictures(run, backbone(), out, on_drawing)
        if not _train(runs, backbone, some[0].curve_steps, on_step, out):
            return False
    return True


def _alike(cells: Sequence[Cell], run_of: Callable[[Cell], Run]) -> Iterable[list[Cell]]:
    """Cells whose runs differ in their concept alone: of one seed and one folder name."""
    found: dict[tuple[int, str], list[Cell]] = {}
    for cell in cells:
        run = run_of(cell)
        found.setdefault((run.seed, run.out.name), []).append(cell)
    return found.values()


def _train(
    runs: Sequence[Run],
    backbone: Callable[[], Backbone],
    keep: Sequence[int],
    on_step: OnStep,
    out: Path,
) -> bool:
    """Train runs of one concept each, alike but for that."""
    for run in runs:
        _tell_failure(run, out)
    if not runs:
        return True
    folder = out / "batches" / f"seed-{runs[0].seed}" / runs[0].out.name
    for batch in batches_of(runs, folder):
        run = batch[0] if len(batch) == 1 else together(batch, folder)
        lost: dict[str, str] = {}
        try:
            if not train_run(run, backbone(), keep, on_step):
                return False
        except QuarantineError as error:
            lost = error.lines
        if len(batch) > 1:
            for own in batch:
                if not done(own):
                    hand_out(run, own, backbone(), lost.get(own.concepts[0].name))
            drop(folder)
        elif lost:
            record_failure(run, *lost.values())
        else:
            write_cards(run, backbone())
        for own in batch:
            _tell_failure(own, out)
    return True


def _tell_failure(run: Run, out: Path) -> None:
    if why := failure_of(run):
        failure = {"run": run.out.relative_to(out), "why": why}
        print(f"textreg: {failure_line(failure)}", file=sys.stderr)


def train_run(run: Run, backbone: Backbone, keep: Sequence[int], on_step: OnStep) -> bool:
    """Train a run; at the steps of `keep` each concept goes to `states` in its folder."""
    place = RunFolder(run)
    # The start as well: a kill may have come between a checkpoint and the file of its step.
    with closing(trainings(run, backbone, with_start=True)) as going:
        for training, records in going:
            if training.stage_index == 1 and training.step in keep:
                for concept, adapter in zip(training.active, training.adapters(), strict=True):
                    folder = place.concept_folder(concept.name)
                    adapter.save(folder / STATES / f"{training.step:07}")
            if records and on_step(run, training.global_step):
                return False
    return True
