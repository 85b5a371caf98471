"""Where the class pictures of a comparison's cells are: with the user, or drawn once for all seeds.

class_pictures/COUNT-STEPS-GUIDANCE/class_images/CONCEPT     drawn by the first cell that needs them
FOLDER/CONCEPT                                               of class_images.folder: FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import textreg.priors as priors
from textreg.backbone import Backbone
from textreg.base_digest import base_digest
from textreg.base_files import BaseFiles
from textreg.checkpoint import publish
from textreg.class_pictures import class_prompt, draw, recorded, users_pictures
from textreg.compare.failures import done
from textreg.config import Run
from textreg.errors import UserError
from textreg.run_folder import RunFolder

_DRAWN = "drawn.json"
"""Beside the comparison's class pictures: base, resolution and prompt, which no path says."""


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
    drawn = (out / "class_pictures").resolve()
    return folder is not None and folder.resolve().is_relative_to(drawn)


def refuse_unfit_folders(runs: Sequence[Run], out: Path) -> None:
    """Refuse a folder of class pictures that a run could not begin with.

    Raises:
        UserError: the user's is missing, or names the picture or the prompt that will not do; or
            the comparison's holds pictures that this run would have drawn otherwise.
    """
    asked = {
        (run.class_images.folder, run.class_images.captions): run
        for run in runs
        if "class-images" in priors.split(run.prior) and not done(run)
    }
    base: str | None = None
    for run in asked.values():
        folder = run.class_images.folder
        if folder is None or not shares_class_pictures(run, out):
            users_pictures(run, run.concepts[0])
        elif recorded(folder) or (folder / _DRAWN).is_file():
            # All share one base.
            base = base or base_digest(BaseFiles.of(run.base, run.revision).place)
            _refuse_drawn_otherwise(run, folder, base)


def _refuse_drawn_otherwise(run: Run, folder: Path, base: str) -> None:
    """Of pictures of earlier versions, which kept less, only that is compared."""
    pictures, path = recorded(folder), folder / _DRAWN
    here = _drawn_as(run, base)
    there = here | {"prompt": pictures[0].prompt} if pictures else here
    if path.is_file():
        try:
            there = here | dict(json.loads(path.read_bytes()))
        except (ValueError, TypeError):
            raise UserError(f"{path}: is damaged; delete {folder} to draw them anew") from None
    if differences := [
        f"{key} is {there[key]!r} there, {value!r} here"
        for key, value in here.items()
        if there[key] != value
    ]:
        raise UserError(
            f"{folder} holds other class pictures: {'; '.join(differences)}. Choose another --out, "
            "or delete that folder to draw them anew"
        )


def _drawn_as(run: Run, base: str) -> dict[str, Any]:
    """What decides drawn pictures besides what their folder's path says, as runs are told apart."""
    return {
        "base": run.base,
        "revision": run.revision,
        "resolution": run.images.resolution,
        "prompt": class_prompt(run.concepts[0]),
        "base_sha256": base,
    }


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
    if not recorded(folder):
        publish(
            folder / _DRAWN, json.dumps(_drawn_as(run, base_digest(backbone.files.place))).encode()
        )
    for line in draw(run, run.concepts[0], backbone, folder.parent.parent):
        print(f"textreg: {line}", file=sys.stderr)
        on_drawing(folder)
