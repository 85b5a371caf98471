"""Where a step's time goes, what TextReg costs of it, and sampling against plain diffusers.

    python benchmarks/speed/step.py --json benchmarks/results/step-cpu.json

The parts of a step come from looking at the stack (stack_profile.py); TextReg's cost is its terms
alone, forward and backward, and what it does after the update, timed on the edit that training
left. Sampling draws the same pictures with textreg and with diffusers' pipeline, which loads the
run's folder; order A B B A. Where others use the machine as well, --clock cpu on one thread
(OMP_NUM_THREADS=1) says more than the wall's: a step that waits for its turn is not longer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from provenance import provenance, rounded, write_report
from sampling_speed import Clock, sampling_rows
from stack_profile import Rule, StackProfile
from training_run import (
    RUN_STEPS,
    concept_folders,
    recorded_at_once,
    settings_of,
    time_steps,
    training_run,
)

from textreg.large_pages import restart_in_large_pages

PARTS: tuple[Rule, ...] = (
    ("backward", "torch/_tensor.py", "backward"),
    ("backward", "torch/autograd/__init__.py", None),
    # A look and a measurement of drift take norms as well.
    ("the best state", "textreg/front_watch.py", None),
    ("records, drift", "textreg/text_shift.py", None),
    ("TextReg", "method/text_regularizer.py", None),
    ("TextReg", "priors/textreg.py", None),
    ("TextReg", "priors/context.py", None),
    ("VAE", "textreg/latents.py", "_encode"),
    ("text encoder", "method/text_features.py", None),
    ("denoiser, forward", "method/denoiser.py", None),
    ("keys and values", "method/text_projections.py", None),
    ("quarantine, clip", "textreg/quarantine.py", None),
    ("quarantine, clip", "textreg/concept_adamw.py", "clip"),
    ("quarantine, clip", "textreg/training.py", "_gradient_norms"),
    ("optimiser", "textreg/concept_adamw.py", None),
    ("optimiser", "textreg/each_alone.py", None),
    ("noise, latents, timesteps", "textreg/latents.py", None),
    ("noise, latents, timesteps", "textreg/batch.py", None),
    ("noise, latents, timesteps", "textreg/randomness.py", None),
    ("records, drift", "textreg/training.py", "_records"),
    ("records, drift", "textreg/step_record.py", None),
    ("records, drift", "textreg/run_folder.py", None),
    ("records, drift", "json/encoder.py", None),
)
WARM_UP = 12
MODES: dict[str, dict[str, Any]] = {
    "hard": {},
    "soft": {"prior": "textreg", "textreg.hard": False, "textreg.edit_weight": 0.1},
}
"""Settings beside the base's own: the preset's hard mode, and both terms as the paper's."""
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    """Measure; print and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--data", type=Path, default=Path("custom_datasets/data"))
    parser.add_argument("--concepts", default="1,16", help="how many in a run, by comma")
    # A multiple of a tenth of the run, after which the best state is looked for: it has its share.
    parser.add_argument("--steps", type=int, default=RUN_STEPS // 5, help="timed of each stage")
    parser.add_argument("--batches", default="1,4", help="pictures at once when sampling, by comma")
    parser.add_argument("--pictures", type=int, default=4, help="drawn in a round")
    parser.add_argument("--rounds", type=int, default=2, help="of sampling, A B B A each")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the run")
    arguments = parser.parse_args()
    clock = CLOCKS[arguments.clock]
    from textreg.backbone import load

    backbone = load(arguments.base, device=arguments.device, dtype=arguments.dtype)
    folders = concept_folders(arguments.data)
    settings = {"base": arguments.base, "device": arguments.device, "dtype": arguments.dtype}
    settings |= settings_of(arguments.set)
    report: dict[str, Any] = {"stages": [], "textreg": []}
    with tempfile.TemporaryDirectory() as place:
        for count in (int(n) for n in arguments.concepts.split(",")):
            some = folders[:count]
            for stage in ("inversion", "tuning"):
                out = Path(place) / f"{stage}{count}"
                run = training_run(some, out, stage, **settings)
                profile = StackProfile(PARTS)
                updates = WARM_UP + arguments.steps
                times = time_steps(run, backbone, WARM_UP, updates, profile)
                row = {
                    "stage": stage,
                    "concepts": count,
                    "seconds_a_step": statistics.median(
                        times.seconds if arguments.clock == "wall" else times.cpu_seconds
                    ),
                    "looks": profile.looks,
                    "shares": profile.shares(),
                }
                report["stages"].append(row)
                print(json.dumps(rounded(row)), file=sys.stderr, flush=True)
            for mode, more in MODES.items():
                out = Path(place) / f"{mode}{count}"
                run = training_run(some, out, "tuning", **(settings | more))
                cost = textreg_cost(run, backbone, clock, updates=WARM_UP + 40)
                row = {"concepts": count, **cost}
                report["textreg"].append(row)
                print(json.dumps(rounded(row)), file=sys.stderr, flush=True)
        with recorded_at_once():
            report["sampling"] = sampling_rows(
                backbone,
                training_run(folders[:1], Path(place) / "learned", "tuning", 4, **settings),
                batches=[int(n) for n in arguments.batches.split(",")],
                pictures=arguments.pictures,
                rounds=arguments.rounds,
                clock=clock,
            )
    report["settings"] = {k: str(v) for k, v in vars(arguments).items() if k != "json"}
    write_report(report | provenance(), arguments.json)


def textreg_cost(
    run: Any, backbone: Any, clock: Clock, warm_up: int = WARM_UP, updates: int | None = None
) -> dict[str, Any]:
    """Seconds of TextReg's terms and constraint, and their share of a step.

    The terms' backward pass is timed on its own; within the whole loss's it shares some work. Of
    several batches they are the last one's. `updates`: so many of the run's steps; none: all.
    """
    import torch

    from textreg.randomness import Draws
    from textreg.trainer import trainings

    ended: list[float] = []
    training: Any = None
    for item in islice(trainings(run, backbone), updates):
        training = item[0]
        ended.append(clock())
    draws = [
        [
            Draws(run.seed, concept.name, "tuning", run.tuning.steps, 0, s)
            for s in range(run.optimizer.batch_size)
        ]
        for concept in training.active
    ]

    def terms() -> None:
        values = [p.weight * p.value for p in training.prior.penalties(draws).values()]
        if values:
            torch.stack(values).sum().backward()

    term, constraint = (median_seconds(work, clock) for work in (terms, training.prior.after_step))
    step = statistics.median(b - a for a, b in pairwise(ended[warm_up:]))
    return {
        "hard": run.textreg.hard,
        "seconds_a_step": step,
        "terms_seconds": term,
        "constraint_seconds": constraint,
        "share": (term + constraint) / step,
    }


def median_seconds(work: Callable[[], object], clock: Clock, repeats: int = 60) -> float:
    """Median time of a call, after some to warm up; on a GPU, until what was queued is done."""
    import torch

    seconds: list[float] = []
    for _ in range(repeats + 10):
        begun = clock()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(clock() - begun)
    return statistics.median(seconds[10:])


if __name__ == "__main__":
    restart_in_large_pages()  # as the command does
    main()
