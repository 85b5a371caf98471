"""`textreg export`: a run's concepts to files of other programs, each opened again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textreg.config import Concept, Run
from textreg.errors import UserError
from textreg.interrupt import stop_flag

if TYPE_CHECKING:
    from textreg.adapter import Adapter
    from textreg.adapter.export import Target
    from textreg.adapter.reopened import Reopened

_HEAD = ("file", "opened by", "largest difference", "type there")


def export_command(arguments: argparse.Namespace) -> int:
    """Write the files and print what opens them; returns the exit code."""
    with stop_flag():
        return _export(arguments)


def _export(arguments: argparse.Namespace) -> int:
    from textreg.adapter import Adapter
    from textreg.adapter.export import export
    from textreg.adapter.model_card import copy_card
    from textreg.base_shape import BaseShape, fitted
    from textreg.run_facts import facts_of

    targets = targets_of(arguments.to)
    home, run, concepts = _concepts(arguments.run)
    shape = BaseShape.of(run.base, run.revision)
    for concept, folder in concepts:
        adapter = Adapter.load(folder)
        adapter = replace(adapter, factors=fitted(adapter, shape.projections, run.base))
        facts = facts_of(
            home,
            run,
            concept,
            resolution=shape.resolution,
            prediction_type=shape.prediction_type,
            steps=_steps(folder),
        )
        out = _out(arguments.out, folder, concept, arguments.dtype, several=len(concepts) > 1)
        rows = export(
            adapter,
            out,
            targets,
            facts,
            dtype=arguments.dtype,
            picture=_picture(folder),
            text_layers=shape.text_layers,
            # In the run's own folder these files are its own.
            replace=arguments.out is None,
        )
        # The run's own folder has its card; an imported concept has none.
        if out != folder and run.total_steps:
            steps = run.tuning.steps if facts.steps is None else facts.steps - run.inversion.steps
            here = replace(run, tuning=replace(run.tuning, steps=steps))
            odd = copy_card(folder, out, here, adapter, replace=arguments.out is None)
            if odd is not None:
                print(f"textreg: {odd}: is there already, so no model card is written")
        print(out)
        print(table(rows))
        halves = arguments.dtype == "fp16" or "legacy" in targets
        if halves and run.textreg.hard and "textreg" in run.prior:
            print(_cost(adapter, concept, run))
    return 0


def targets_of(text: str) -> list[Target]:
    """The programs that --to names.

    Raises:
        UserError: one that nobody knows.
    """
    from textreg.adapter.export import TARGETS

    named = [word.strip() for word in text.split(",") if word.strip()]
    targets: list[Target] = [target for target in TARGETS if target in named]
    if unknown := [word for word in named if word not in TARGETS]:
        raise UserError(f"--to {unknown[0]!r}: known are {', '.join(TARGETS)}")
    if not targets:
        raise UserError(f"--to names no program; known are {', '.join(TARGETS)}")
    return targets


def _concepts(folder: Path) -> tuple[Path, Run, list[tuple[Concept, Path]]]:
    """The run's folder, its settings, and the concepts meant, each with its own folder.

    Raises:
        UserError: it is no run's folder.
    """
    from textreg.front import BEST
    from textreg.run_folder import RunFolder
    from textreg.run_record import is_one_of, read_record, recorded_run, run_home
    from textreg.settings import run_from

    home = run_home(folder)
    if home is None:
        raise UserError(
            f"{folder}: is no run's folder; textreg import makes one of an adapter's file"
        )
    run = run_from(recorded_run(home, read_record(home)) | {"out": home}, home / "run.yaml")
    places = [(c, RunFolder(run).concept_folder(c.name)) for c in run.concepts]
    meant = [(c, place) for c, place in places if is_one_of(folder, (home, place))]
    meant = meant or [(c, folder) for c, place in places if is_one_of(folder, (place / BEST,))]
    if not meant:
        raise UserError(f"{folder}: is none of the concepts of {home}")
    return home, run, meant


def _steps(folder: Path) -> int | None:
    """Steps of stage 2 behind a state that is not the run's last."""
    from textreg.front import BEST, best_step

    found = best_step(folder.parent) if folder.name == BEST else None
    return found[0] if found else None


def _out(given: Path | None, folder: Path, concept: Concept, dtype: str, *, several: bool) -> Path:
    if given is not None:
        return given / concept.name if several else given
    # The run's own files are float32 and stay so.
    return folder if dtype == "fp32" else folder / dtype


def _picture(folder: Path) -> Any:
    """The first picture of the model card, if there is one."""
    from PIL import Image

    path = folder / "image_0.png"
    if not path.is_file():
        return None
    with Image.open(path, formats=["PNG"]) as picture:
        picture.load()
        return picture


def _cost(adapter: Adapter, concept: Concept, run: Run) -> str:
    """What fp16 costs hard mode."""
    import torch

    from textreg.adapter.tensor_file import stored
    from textreg.backbone import load
    from textreg.class_residual import class_residual
    from textreg.commands.progress import new_progress

    halved = replace(
        adapter,
        factors={
            name: (stored(down, torch.half).float(), stored(up, torch.half).float())
            for name, (down, up) in adapter.factors.items()
        },
    )
    with new_progress() as progress:
        progress.add_task("measuring what fp16 costs", total=None, note="")
        backbone = load(run.base, revision=run.revision, device="cpu")
        whole, half = (class_residual(a, concept, run.textreg, backbone) for a in (adapter, halved))
    return (
        f"hard mode in fp16: the edit moves keys and values of the class prompts by {half:.1e} of "
        f"their size instead of {whole:.1e}; where that matters, take fp32"
    )


def table(rows: Sequence[Reopened]) -> str:
    """Rows as aligned columns; the last is never broken, as people copy it."""
    lines = [_HEAD] + [
        (row.file, row.opened_by, _difference(row.difference), row.type_there) for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    )


def _difference(value: float | None) -> str:
    return "-" if value is None else "0" if value == 0 else f"{value:.1e}"
