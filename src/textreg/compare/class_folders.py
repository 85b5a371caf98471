"""Where the class pictures of a comparison's cells are: with the user, or drawn once for all seeds.

class_pictures/COUNT-STEPS-GUIDANCE/class_images/CONCEPT     drawn by the first cell that needs them
FOLDER/CONCEPT                                               of class_images.folder: FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import textreg.priors as priors
from textreg.backbone import Backbone
from textreg.class_pictures import draw, users_pictures
from textreg.config import Run
from textreg.run_folder import RunFolder


def with_class_folder(run: Run, out: Path, *, several: bool) -> Run:
    """A cell's run with the folder that its class pictures come from, if it takes any.

    Args:
        run: of one concept, in its place.
        out: the comparison's folder.
        several: whether other concepts are compared as well, so that each has a folder by its name.
    """
    settings, name = run.class_images, run.concepts[0].name
    if "class-images" not in priors.split(run.prior):
        return run
    if settings.folder is None:
        kind = f"{settings.count}-{settings.steps}-{settings.guidance:g}"
        folder = out / "class_pictures" / kind / "class_images" / name
    elif not several or RunFolder(run).same_run():  # begun before each had a folder of its own
        return run
    else:
        folder = settings.folder / name
    return replace(run, class_images=replace(settings, folder=folder))


def shares_class_pictures(run: Run, out: Path) -> bool:
    """Whether the comparison draws this run's class pictures."""
    folder = run.class_images.folder
    return folder is not None and folder.is_relative_to(out / "class_pictures")


def refuse_unfit_folders(runs: Sequence[Run], out: Path) -> None:
    """Refuse a user's folder of class pictures that a run could not begin with.

    Raises:
        UserError: it is missing, or names the picture or the prompt that will not do.
    """
    asked = {
        (run.class_images.folder, run.class_images.captions): run
        for run in runs
        if "class-images" in priors.split(run.prior)
        and not shares_class_pictures(run, out)
        and not RunFolder(run).finished
    }
    for run in asked.values():
        users_pictures(run, run.concepts[0])


def draw_class_pictures(
    run: Run, backbone: Backbone, out: Path, on_drawing: Callable[[Path], object]
) -> None:
    """Draw the class pictures that all seeds and variants of a concept share, or what is left.

    Args:
        run: of one concept.
        backbone: the base.
        out: the comparison's folder.
        on_drawing: told the pictures' folder, before the first of them and after each group.
    """
    folder = run.class_images.folder
    if folder is None or not shares_class_pictures(run, out):
        return
    on_drawing(folder)
    for line in draw(run, run.concepts[0], backbone, folder.parent.parent):
        print(f"textreg: {line}", file=sys.stderr)
        on_drawing(folder)
