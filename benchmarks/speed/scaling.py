"""What a concept costs when several share a run: seconds and memory at 1, 2, 4 ... concepts.

    python benchmarks/speed/scaling.py --json benchmarks/results/scaling-cpu.json

Each number of concepts is a process of its own, so that its peak memory is its own; the numbers go
up and, with --rounds 2, down again. On a GPU it is the GPU's. Where memory does not hold all of
them at once, a row says how many the first batch had. Seconds a concept are those of a whole run of
the preset: median seconds of a concept-step of each stage, times its steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from provenance import peak_gibibytes, provenance, rounded, write_report

from textreg.large_pages import restart_in_large_pages

COUNTS = "1,2,4,8,16,32"


def main() -> None:
    """Measure each number of concepts; print and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--data", type=Path, default=Path("custom_datasets/data"))
    parser.add_argument("--concepts", default=COUNTS, help="how many, by comma")
    parser.add_argument("--seconds", type=float, default=3.0, help="to time a stage for")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1, help="samples a concept and step")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the run")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments, arguments.one)))
        return
    counts = [int(n) for n in arguments.concepts.split(",")]
    order = [n for r in range(arguments.rounds) for n in (counts if r % 2 == 0 else counts[::-1])]
    measured: dict[int, list[dict[str, Any]]] = {n: [] for n in counts}
    for n in order:
        words = [sys.executable, __file__, *sys.argv[1:], "--one", str(n)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        measured[n].append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(rounded(measured[n][-1])), file=sys.stderr, flush=True)
    report = {
        "rows": [{"concepts": n, **middle(rows)} for n, rows in measured.items()],
        "settings": {k: str(v) for k, v in vars(arguments).items() if k not in ("json", "one")},
        **provenance(),
    }
    write_report(report, arguments.json)


def measure(arguments: argparse.Namespace, concepts: int) -> dict[str, float]:
    """Seconds a concept-step of both stages, set-up, and memory; in this process."""
    from training_run import concept_folders, first_batch, settings_of, time_steps, training_run

    from textreg.backbone import load

    settings = {"base": arguments.base, "device": arguments.device, "dtype": arguments.dtype}
    settings |= {"optimizer.batch_size": arguments.batch} | settings_of(arguments.set)
    backbone = load(arguments.base, device=arguments.device, dtype=arguments.dtype)
    folders = concept_folders(arguments.data)[:concepts]
    row: dict[str, float] = {"whole_run_seconds": 0.0}
    with tempfile.TemporaryDirectory() as place:
        for stage in ("inversion", "tuning"):
            trial = training_run(folders, Path(place) / f"{stage} trial", stage, **settings)
            begun = time.perf_counter()
            first = time_steps(trial, backbone, 3, 6)
            row[f"{stage}_trial_seconds"] = time.perf_counter() - begun
            step = first.per_concept * concepts
            count = max(8, min(200, round(arguments.seconds / step)))
            run = training_run(folders, Path(place) / stage, stage, **settings)
            times = time_steps(run, backbone, 12, 12 + count)
            row[f"{stage}_concepts_in_a_batch"] = first_batch(run)
            row[f"{stage}_seconds"] = times.per_concept
            row[f"{stage}_mean_seconds"] = times.mean_per_concept
            row[f"{stage}_steps_timed"] = len(times.seconds)
            row["whole_run_seconds"] += times.mean_per_concept * preset_steps(arguments.base, stage)
    gpu = backbone.device if backbone.device.type == "cuda" else None
    row["peak_gibibytes"] = peak_gibibytes(gpu)
    return row


def preset_steps(base: str, stage: str) -> int:
    """Steps of a stage as the base's own settings, or the preset, have them."""
    from textreg.settings import build_run

    place = Path("anywhere")
    run = build_run({"base": base, "concepts": [{"images": place, "noun": "cat"}], "out": place})
    return run.inversion.steps if stage == "inversion" else run.tuning.steps


def middle(rows: list[dict[str, float]]) -> dict[str, float]:
    """Each figure's median over the rounds."""
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


if __name__ == "__main__":
    restart_in_large_pages()  # as the command does
    main()
