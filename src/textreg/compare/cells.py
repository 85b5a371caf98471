"""Every run of a comparison and its place: cells/CONCEPT/seed-S/PRIOR, and the word they share.

cells/cat/seed-0/word                 stage 1 alone, once a concept and seed
cells/cat/seed-0/textreg              stage 2 from that word
cells/cat/seed-0/textreg-210-steps    the same, as long as the reference takes
batches/seed-0/textreg                all concepts of it, while they train (batches.py)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import textreg.priors as priors
from textreg.adapter.diffusers_files import EMBEDDING_FILE
from textreg.compare.class_folders import refuse_unfit_folders, with_class_folder
from textreg.compare.spelling import as_begun
from textreg.compare.variants import Variant
from textreg.config import Run
from textreg.errors import UserError
from textreg.run_folder import RunFolder
from textreg.run_pictures import check_pictures, content_hashes
from textreg.settings import build_run

STATES = "states"
"""Folder of a concept as it was at steps of its curve, within its run's."""
SHARES = (0.125, 0.25, 0.5)
"""Where, in shares of stage 2, a curve has its points before the last."""
_FILES = {"equal_time.json", "compare.json", "compare.html", "pareto.png"}
_SHOWN = {"cells", "batches", "class_pictures", "evaluation", *_FILES}
# What a kill leaves of a file that was being written; the next one takes its place.
_OURS = _SHOWN | {f".{name}.partial" for name in _FILES}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One prior on one concept with one seed."""

    variant: Variant
    word: Run
    """Stage 1, shared by all priors."""
    run: Run
    shares: tuple[float, ...] = SHARES

    @property
    def place(self) -> tuple[str, int]:
        """(concept, seed): where priors are compared in pairs."""
        return self.run.concepts[0].name, self.run.seed

    @property
    def curve_steps(self) -> list[int]:
        """Steps of stage 2 at which the concept is kept, without the first and the last."""
        steps = self.run.tuning.steps
        return sorted({round(share * steps) for share in self.shares} - {0, steps})

    def kept(self, step: int) -> Path:
        """Where the concept of a step is kept."""
        return self.run.out / STATES / f"{step:07}"


def plan_cells(
    flags: dict[str, Any],
    variants: Sequence[Variant],
    seeds: int,
    out: Path,
    *,
    preset: str | None = None,
    file: Path | None = None,
    shares: tuple[float, ...] = SHARES,
) -> list[Cell]:
    """All cells at equal steps, checked; by concept, then seed, then prior.

    Args:
        flags: settings that all share, as in `build_run`; "concepts" holds one entry a concept.
        variants: the priors, the reference first.
        seeds: how many, counted on from the settings' own.
        out: the comparison's folder.
        preset: as in `build_run`.
        file: as in `build_run`.
        shares: where a curve has its points before the last.

    Raises:
        UserError: a setting that cannot be, pictures that are not usable, or a folder that holds
            something else.
    """
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; it must be at least 1")
    names = [Path(concept["images"]).name for concept in flags["concepts"]]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two concepts share the folder name {twice[0]!r}; each needs its own")
    there = {path.name for path in out.iterdir()} if out.is_dir() else set[str]()
    others = sorted(there - _OURS)
    if there & _SHOWN:  # a file manager may have added something hidden
        others = [name for name in others if not name.startswith(".")]
    if others:
        raise UserError(f"--out {out}: is no comparison's folder ({others[0]}); choose another")
    # Each cell is a run of its own, so concepts may share an identifier.
    one = flags | {"concepts": flags["concepts"][:1], "out": out}
    first = build_run(one, preset=preset, file=file)
    if first.inversion.steps == 0 or first.tuning.steps == 0:
        raise UserError("--inversion-steps and --tuning-steps must both be at least 1 to compare")
    several = len(flags["concepts"]) > 1
    cells = [
        _cell(
            one | {"concepts": [concept], "seed": first.seed + n},
            variant,
            preset,
            file,
            shares,
            several=several,
        )
        for concept in flags["concepts"]
        for n in range(seeds)
        for variant in variants
    ]
    refuse_other_runs([cell.word for cell in cells] + [cell.run for cell in cells])
    refuse_unfit_folders([cell.run for cell in cells], out)
    return cells


def _cell(
    flags: dict[str, Any],
    variant: Variant,
    preset: str | None,
    file: Path | None,
    shares: tuple[float, ...],
    *,
    several: bool,
) -> Cell:
    out: Path = flags["out"]
    common = build_run(flags, preset=preset, file=file)
    home = out / "cells" / common.concepts[0].name / f"seed-{common.seed}"
    word = replace(
        common,
        out=home / "word",
        prior="none",
        tuning=replace(common.tuning, steps=0),
        card_pictures=0,
    )
    own = build_run(flags | variant.settings, preset=preset, file=file)
    priors.prior_of(own)
    inversion = replace(own.inversion, steps=0, embedding=word.out / EMBEDDING_FILE)
    run = replace(own, out=home / variant.folder, inversion=inversion, card_pictures=0)
    run = as_begun(with_class_folder(run, out, several=several), out)
    return Cell(variant=variant, word=word, run=run, shares=shares)


def for_steps(cell: Cell, steps: int) -> Cell:
    """The same cell with another number of steps of stage 2, in a folder of its own."""
    if steps == cell.run.tuning.steps:
        return cell
    out = cell.run.out.with_name(f"{cell.run.out.name}-{steps}-steps")
    run = replace(cell.run, out=out, tuning=replace(cell.run.tuning, steps=steps))
    return replace(cell, run=run)


def refuse_other_runs(runs: Sequence[Run]) -> None:
    """Refuse, before anything slow, what no run may be trained on or into.

    Raises:
        UserError: names the folder and what differs.
    """
    seen: dict[Path, dict[str, list[str]]] = {}
    for run in {run.out: run for run in runs}.values():
        (concept,) = run.concepts
        if concept.images not in seen:
            alone = replace(run, prior="none", inversion=replace(run.inversion, steps=1))
            seen[concept.images] = content_hashes(alone, check_pictures(alone))
        RunFolder(run).refuse_another(seen[concept.images])


def by_place(cells: Sequence[Cell]) -> Iterator[tuple[str, int, list[Cell]]]:
    """The cells of each concept and seed."""
    for place in dict.fromkeys(cell.place for cell in cells):
        yield *place, [cell for cell in cells if cell.place == place]
