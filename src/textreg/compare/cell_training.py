"""Train what is left of a comparison's runs, and keep the concept at the steps of the curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from textreg.backbone import Backbone
from textreg.class_pictures import draw
from textreg.compare.cells import Cell, shares_class_pictures
from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.learning import write_cards
from textreg.priors import prior_of
from textreg.run_folder import RunFolder
from textreg.trainer import trainings

OnStep = Callable[[Run, int], bool]
"""Told (run, steps done in it); returning True stops after that step."""


def refuse_unfit_priors(cells: Sequence[Cell], backbone: Callable[[], Backbone], out: Path) -> None:
    """Refuse a prior that this base cannot do, before the first step of any.

    Raises:
        UserError: says what the base lacks.
    """
    for cell in cells:
        if cell.run.seed == cells[0].run.seed and not RunFolder(cell.run).finished:
            run = cell.run
            if shares_class_pictures(run, out):  # not drawn yet
                run = replace(run, class_images=replace(run.class_images, folder=None))
            prior_of(run).check([ConceptTexts.of_run(run, run.concepts[0], backbone())])


def train_cell(cell: Cell, backbone: Callable[[], Backbone], out: Path, on_step: OnStep) -> bool:
    """Train a cell, first its word and its class pictures where they are missing.

    Args:
        cell: what to train; a finished one is left as it is.
        backbone: gives the base; called only if something is to be trained.
        out: the comparison's folder.
        on_step: told of each step.

    Returns:
        False if it was stopped; the same call then goes on.
    """
    if not train_run(cell.word, backbone, (), on_step):
        return False
    if not RunFolder(cell.run).finished:
        draw_class_pictures(cell.run, backbone(), out)
    return train_run(cell.run, backbone, cell.curve_steps, on_step, cell.kept)


def train_run(
    run: Run,
    backbone: Callable[[], Backbone],
    keep: Sequence[int],
    on_step: OnStep,
    place: Callable[[int], Path] | None = None,
) -> bool:
    """Train one run of one concept; at the steps of `keep` its adapter goes to `place`."""
    if RunFolder(run).finished:
        return True
    # The start as well: a kill may have come between a checkpoint and the file of its step.
    for training, records in trainings(run, backbone(), with_start=True):
        if place and training.stage_index == 1 and training.step in keep:
            training.adapters()[0].save(place(training.step))
        if records and on_step(run, training.global_step):
            return False
    write_cards(run, backbone())
    return True


def draw_class_pictures(run: Run, backbone: Backbone, out: Path) -> None:
    """Draw the class pictures that all seeds and variants of a concept share, or what is left."""
    folder = run.class_images.folder
    if folder is not None and shares_class_pictures(run, out):
        for _ in draw(run, run.concepts[0], backbone, folder.parent.parent):
            pass
