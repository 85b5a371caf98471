"""What watching costs: drift every tenth step, and the looks that mark the best state.

    python benchmarks/speed/drift_cost.py --json benchmarks/results/drift_cost-cpu.json

Training's own records time each step without drift and looks; both are timed alone, on the edit
that training left, a look with the files that it may write. Drift is a share of a step of stage 2,
the looks are one of a whole run of the base's own length.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from provenance import provenance

from textreg.backbone import load
from textreg.front import LOOKS
from textreg.front_watch import SAMPLES, FixedDraws
from textreg.settings import build_run
from textreg.trainer import trainings
from textreg.training import DRIFT_EVERY, Training

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
    made = provenance()  # the load before
    flags = {
        "concepts": [{"images": arguments.images, "noun": arguments.noun}],
        "base": arguments.base,
        "device": arguments.device,
    }
    few = {"inversion.steps": arguments.steps, "tuning.steps": arguments.steps}
    if arguments.resolution is not None:
        flags["images.resolution"] = arguments.resolution
    with tempfile.TemporaryDirectory() as folder:
        own = build_run(flags | {"out": Path(folder) / "run"})
        run = build_run(flags | few | {"out": Path(folder) / "run"})
        backbone = load(run.base, device=run.device, dtype=run.dtype)
        steps = list(trainings(run, backbone))
        training = steps[-1][0]
        look = _seconds_a_look(training, Path(folder) / "state")
    by_stage = {
        name: statistics.median(
            r.seconds for _, records in steps for r in records if r.stage == name
        )
        for name in ("inversion", "tuning")
    }
    measured: list[float] = []
    for _ in range(_MEASUREMENTS):
        start = time.perf_counter()
        training.text_shift.measure(training.edits.text)  # returns numbers, so a GPU is waited for
        measured.append(time.perf_counter() - start)
    step, once = by_stage["tuning"], statistics.median(measured)
    whole = own.inversion.steps * by_stage["inversion"] + own.tuning.steps * step
    report = {
        "base": Path(arguments.base).name,
        "resolution": run.images.resolution or backbone.resolution,
        "batch": run.optimizer.batch_size,
        "rank": run.tuning.rank,
        "device": str(backbone.device),
        **made,
        "seconds a step": step,
        "seconds a measurement": once,
        "steps between two": DRIFT_EVERY,
        "share of a step": once / DRIFT_EVERY / step,
        "steps of a run": [own.inversion.steps, own.tuning.steps],
        "seconds a step of stage 1": by_stage["inversion"],
        "fixed draws": SAMPLES,
        "seconds a look": look,
        "looks": LOOKS + 1,
        "looks' share of a run": (LOOKS + 1) * look / whole,
    }
    text = json.dumps(report, indent=2) + "\n"
    print(text, end="")
    if arguments.json is not None:
        arguments.json.write_text(text)


def _seconds_a_look(training: Training, state: Path) -> float:
    """Median of looks at the same state: loss, drift and the files of the adapter."""
    draws, found = FixedDraws(), list[float]()
    draws.measure(training)  # draws them
    for _ in range(LOOKS):
        start = time.perf_counter()
        draws.measure(training)
        training.text_shift.measure(training.edits.text)
        training.adapters()[0].save(state)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


if __name__ == "__main__":
    main()
