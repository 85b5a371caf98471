"""Write equal_time.json of the study's main part from steps of all priors taken in turns.

    python benchmarks/study/step_times.py --out runs/study --concepts cat

`textreg compare` takes the seconds of its own runs, one prior after another; where the speed of
the machine changes meanwhile, that compares hours, not priors. Here a run of one prior goes on by a
step, then the next prior's; the ratio to the reference is the median over rounds. Words and class
pictures must be there: run study.py with --equal steps first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from study import PARTS, comparison, concepts_word

from textreg.backbone import load
from textreg.checkpoint import publish
from textreg.compare.cells import Cell, plan_cells
from textreg.compare.equal_time import entry, key_of, settings_digest
from textreg.trainer import trainings


def seconds_per_step(
    cells: Sequence[Cell], folder: Path, rounds: int, warm_up: int = 3
) -> dict[str, float]:
    """Seconds of a step of stage 2 by label: the reference's median times the median ratio to it.

    Args:
        cells: one a prior, the reference's first, with its word and class pictures in place.
        folder: of the runs, which are not finished.
        rounds: steps of each that count.
        warm_up: steps of each before them.
    """
    run = cells[0].run
    backbone = load(run.base, device=run.device, dtype=run.dtype)
    taken: dict[str, list[float]] = {cell.variant.label: [] for cell in cells}
    with ExitStack() as stack:
        steps = {
            cell.variant.label: stack.enter_context(
                closing(trainings(replace(cell.run, out=folder / cell.variant.folder), backbone))
            )
            for cell in cells
        }
        for number in range(warm_up + rounds):
            for label, training in steps.items():
                began = time.perf_counter()
                next(training)
                if number >= warm_up:
                    taken[label].append(time.perf_counter() - began)
    reference = taken[cells[0].variant.label]
    typical = statistics.median(reference)
    return {
        label: typical
        * statistics.median(own / theirs for own, theirs in zip(seconds, reference, strict=True))
        for label, seconds in taken.items()
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="as study.py's")
    parser.add_argument("--concepts", type=concepts_word, default="1", help="the first is trained")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--data", type=Path, default=Path("custom_datasets/data"))
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bf16")
    parser.set_defaults(seeds=1, equal="steps")
    arguments = parser.parse_args()
    part = PARTS["main"]
    asked = comparison("main", part, arguments.concepts(part)[:1], arguments)
    cells = plan_cells(asked.flags, asked.variants, 1, asked.out)
    with tempfile.TemporaryDirectory() as folder:
        seconds = seconds_per_step(cells, Path(folder), arguments.rounds)
    total, reference = cells[0].run.tuning.steps, cells[0].variant.label
    # For any number of concepts: here each prior had a step to itself.
    found = {
        cell.variant.label: entry(
            total,
            seconds[cell.variant.label],
            seconds[reference],
            {"settings": settings_digest(cell.run)},
        )
        for cell in cells
    }
    for label, row in found.items():
        print(f"{label}: {row['seconds_per_step']:.3f} s a step, {row['steps']} of {total} steps")
    kept = {key_of(reference, total): found}
    publish(asked.out / "equal_time.json", json.dumps(kept, indent=2).encode())


if __name__ == "__main__":
    main()
