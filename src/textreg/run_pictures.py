"""A run's pictures: read and checked before anything slow, and known by their content."""

from __future__ import annotations

from collections.abc import Sequence

import textreg.priors as priors
from textreg.class_pictures import users_pictures
from textreg.concept import Folder, inspect_folder
from textreg.concept_optimizer import require_optimizer
from textreg.config import Run
from textreg.errors import UserError
from textreg.run_folder import RunFolder
from textreg.settings import require_steps
from textreg.speed import require_speed


def check_pictures(run: Run) -> list[Folder]:
    """Read every concept's pictures and the prior's settings, before anything slow.

    Raises:
        UserError: the first problem, by file; or there is no step to take; or a package is missing.
    """
    require_steps(run)
    priors.prior_of(run)
    require_optimizer(run)
    require_speed(run)
    folders = _inspected(run)
    for folder in folders:
        if folder.errors:
            first, *others = folder.errors
            more = f" (and {len(others)} more)" if others else ""
            raise UserError(folder.located(first) + more)
    if "class-images" in priors.split(run.prior) and run.class_images.folder is not None:
        for concept in run.concepts:
            users_pictures(run, concept)
    return folders


def refuse_other_pictures(run: Run) -> None:
    """Of a finished run: refuse, where all of them can still be read, others than it has learned.

    Raises:
        UserError: they have changed since.
    """
    folders = _inspected(run)
    if not any(folder.errors for folder in folders):
        RunFolder(run).refuse_another(content_hashes(run, folders))


def content_hashes(run: Run, folders: Sequence[Folder]) -> dict[str, list[str]]:
    """What the run's record keeps of the pictures, and of what lies beside them."""
    return {
        key: hashes
        for concept, folder in zip(run.concepts, folders, strict=True)
        for key, hashes in folder.record(concept.name).items()
    }


def _inspected(run: Run) -> list[Folder]:
    return [inspect_folder(c.images, settings=run.images, masks=c.masks) for c in run.concepts]
