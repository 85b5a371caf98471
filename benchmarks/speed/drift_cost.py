"""What watching drift costs: the measurement, spread over the steps between two, against a step.

    python benchmarks/speed/drift_cost.py --json benchmarks/results/drift_cost-cpu.json

Training's own records time each step without the measurement; the measurement is timed alone, on
the edit that training left.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from textreg.backbone import load
from textreg.run_folder import environment
from textreg.settings import build_run
from textreg.trainer import trainings
from textreg.training import DRIFT_EVERY

_MEASUREMENTS = 50


def main() -> None:
    """Train some steps, measure often, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--images", type=Path, default=Path("custom_datasets/data/cat"))
    parser.add_argument("--noun", default="cat")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    flags = {
        "concepts": [{"images": arguments.images, "noun": arguments.noun}],
        "base": arguments.base,
        "device": arguments.device,
        "inversion.steps": 1,
        "tuning.steps": arguments.steps,
    }
    if arguments.resolution is not None:
        flags["images.resolution"] = arguments.resolution
    with tempfile.TemporaryDirectory() as folder:
        run = build_run(flags | {"out": Path(folder) / "run"})
        backbone = load(run.base, device=run.device, dtype=run.dtype)
        steps = list(trainings(run, backbone))
    training = steps[-1][0]
    seconds = [r.seconds for _, records in steps for r in records if r.stage == "tuning"]
    measured: list[float] = []
    for _ in range(_MEASUREMENTS):
        start = time.perf_counter()
        training.text_shift.measure(training.edits.text)  # returns numbers, so a GPU is waited for
        measured.append(time.perf_counter() - start)
    step, once = statistics.median(seconds), statistics.median(measured)
    report = {
        "base": Path(arguments.base).name,
        "resolution": run.images.resolution or backbone.resolution,
        "batch": run.optimizer.batch_size,
        "rank": run.tuning.rank,
        "device": str(backbone.device),
        "environment": environment(),
        "seconds a step": step,
        "seconds a measurement": once,
        "steps between two": DRIFT_EVERY,
        "share of a step": once / DRIFT_EVERY / step,
    }
    text = json.dumps(report, indent=2) + "\n"
    print(text, end="")
    if arguments.json is not None:
        arguments.json.write_text(text)


if __name__ == "__main__":
    main()
