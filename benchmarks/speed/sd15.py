"""True-size Stable Diffusion 1.5 or XL, random weights: milliseconds a sample-step, utilisation.

    python benchmarks/speed/sd15.py --json benchmarks/results/sd15-cpu.json
    python benchmarks/speed/sd15.py --device cuda --concepts 1,4,16,32 \
        --json benchmarks/results/sd15-cuda.json
    python benchmarks/speed/sd15.py --device cuda --size sdxl \
        --json benchmarks/results/sdxl-cuda.json

512 pixels (XL: 1024), batch 1 a concept, rank 10, TextReg, weights in bf16, or in fp32 on a CPU
without bf16 products (avx512_bf16 or amx_bf16; without, one was 60 times slower than fp32's).
Synthetic pictures; losses and pictures mean nothing, times do. The weights, 2 GB (XL: 7), are kept
in models/ for the next time. A row is written when it is there, before the next number of concepts.

Utilisation is model FLOP a second by the counts of `GFLOP` (what the algorithm needs, however it
is done) over a peak, which the report names: the datasheet's, for a card of `PEAKS`, and the rate
of one large product of this type on this device. Without a GPU the CPU form runs, with few steps.

Of each run the report says which way its denoiser went (`--set speed=eager` for one of them alone),
and whether it fitted only with activations computed twice, which is more work than is counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from operator_shares import operator_shares
from provenance import ROOT, peak_gibibytes, processor, provenance, write_report
from recorded import training
from step import textreg_cost
from training_run import settings_of, time_steps, training_run

from textreg.backbone import Backbone
from textreg.config import Run
from textreg.large_pages import restart_in_large_pages
from textreg.run_folder import RunFolder
from textreg.speed import pass_inputs

SIDES = {"sd15": 512, "sdxl": 1024}
GFLOP = {
    "sd15": {"inversion": 803.3 + 865.9 + 13.3 + 13.5, "tuning": 803.3 + 863.1},
    "sdxl": {"inversion": 6761.2 + 7263.0 + 111.2 + 112.4, "tuning": 6761.2 + 7211.4},
}
"""A sample-step at a size's own side, multiply-add = 2: denoiser forward and backward, and in stage
1 the text encoders'; latents, and in stage 2 the text, are cached. Counted by a FLOP counter on the
real models' own backward passes, norms and activations left out."""
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}
"""Dense bf16 FLOP a second of the datasheets."""
STEPS = {"inversion": 500, "tuning": 1500}
FOLDERS = 39


def main() -> None:
    """Measure; print and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--size", choices=sorted(SIDES), default="sd15")
    parser.add_argument("--base", type=Path, help="models/random-SIZE")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", help="bf16; fp32 on a CPU without bf16 products")
    parser.add_argument("--concepts", help="how many in a run, by comma; 1 on a CPU")
    parser.add_argument("--steps", type=int, help="timed; 2 on a CPU, 100 on a GPU")
    parser.add_argument("--warm-up", type=int, help="1 on a CPU, 30 on a GPU")
    parser.add_argument("--side", type=int, help="of the pictures; 512, of sdxl 1024")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the run")
    arguments = parser.parse_args()
    import torch

    from textreg.backbone import load

    gpu = arguments.device.startswith("cuda") or (
        arguments.device == "auto" and torch.cuda.is_available()
    )
    size, many = arguments.size, {"sd15": "1,4,16,32", "sdxl": "1,4"}
    counts = [int(n) for n in (arguments.concepts or (many[size] if gpu else "1")).split(",")]
    arguments.base = arguments.base or ROOT / "models" / f"random-{size}"
    arguments.side = arguments.side or SIDES[size]
    timed = arguments.steps or (100 if gpu else 2)
    warm_up = arguments.warm_up or (30 if gpu else 1)
    if arguments.dtype is None:
        arguments.dtype = "bf16" if gpu or "bf16" in processor() else "fp32"
    write_base_once(arguments.base, size)
    backbone = load(str(arguments.base), device=arguments.device, dtype=arguments.dtype)
    peaks = peaks_of(backbone.device, arguments.dtype)
    settings = {"base": str(arguments.base), "device": arguments.device, "dtype": arguments.dtype}
    settings |= {"images.resolution": arguments.side} | settings_of(arguments.set)
    report: dict[str, Any] = {
        "rows": [],
        "peaks": peaks,
        "settings": {k: str(v) for k, v in vars(arguments).items() if k not in ("json", "base")},
        "timed": timed,
        **provenance(),
    }
    with tempfile.TemporaryDirectory() as place:
        # One picture on a CPU, where encoding it costs as much as a step: the warm-up encodes it.
        large = max(640, arguments.side * 5 // 4)
        folders = write_pictures(Path(place), max(counts), 5 if gpu else 1, large)
        for count in counts:
            # All in one batch, or the row would be of fewer than it says.
            settings["batch_concepts"] = count
            seconds: dict[str, float] = {}
            ran: dict[str, dict[str, Any]] = {}
            if gpu:
                torch.cuda.reset_peak_memory_stats(backbone.device)
            for stage in ("inversion", "tuning"):
                out = Path(place) / f"{stage} {count}"
                updates = warm_up + timed + 1
                run = training_run(folders[:count], out, stage, **settings)
                begun = time.perf_counter()
                seconds[stage] = time_steps(run, backbone, warm_up, updates).per_concept
                ran[stage] = how_it_ran(run, backbone)
                print(
                    f"{count} concepts, {stage}: {1e3 * seconds[stage]:.1f} ms a sample-step "
                    f"({time.perf_counter() - begun:.0f} s in all)",
                    file=sys.stderr,
                    flush=True,
                )
            # Two steps fill the edit; a run as short spends them on looks for the best state.
            run = training_run(
                folders[:count], Path(place) / f"terms {count}", "tuning", 2, **settings
            )
            cost = textreg_cost(run, backbone, time.perf_counter, warm_up=0)
            report["rows"].append(
                {
                    "size": size,
                    "concepts": count,
                    **figures(seconds, peaks, size, arguments.side),
                    "ran": ran,
                    "operators": operator_shares(
                        partial(
                            training,
                            backbone.denoiser.eager,
                            *pass_inputs(backbone, count, arguments.side),
                        ),
                        backbone.device,
                    ),
                    "textreg_share": (cost["terms_seconds"] + cost["constraint_seconds"])
                    / (seconds["tuning"] * count),
                    "peak_gibibytes": peak_gibibytes(backbone.device if gpu else None),
                }
            )
            # Each time: a number of concepts that does not fit ends the whole.
            write_report(report, arguments.json)


def how_it_ran(run: Run, backbone: Backbone) -> dict[str, Any]:
    """What a run that is over did to be fast, or to fit."""
    return {
        "speed": RunFolder(run).chosen("speed"),
        "activations_computed_twice": not backbone.denoiser.activations_kept,
    }


def figures(
    seconds: dict[str, float], peaks: dict[str, float], size: str, side: int
) -> dict[str, Any]:
    """What is read from the seconds of a sample-step of each stage.

    Args:
        seconds: by stage.
        peaks: FLOP a second, by name.
        size: of the model, as in `SIDES`.
        side: of the pictures; the FLOP counts hold at the size's own alone.
    """
    whole = sum(seconds[stage] * count for stage, count in STEPS.items())
    row: dict[str, Any] = {
        "milliseconds_a_sample_step": {stage: 1e3 * s for stage, s in seconds.items()},
        "seconds_of_a_concept": whole,
        "minutes_of_39_concepts": FOLDERS * whole / 60,
    }
    if side == SIDES[size]:
        row["utilisation"] = {
            stage: {name: 1e9 * GFLOP[size][stage] / s / peak for name, peak in peaks.items()}
            for stage, s in seconds.items()
        }
    return row


def peaks_of(device: Any, dtype: str) -> dict[str, float]:
    """FLOP a second of one large product here, and the datasheet's bf16 where it is known."""
    import torch

    from textreg.backbone import DTYPES

    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=DTYPES[dtype]) for _ in range(2))
    seconds: list[float] = []
    for _ in range(8):
        begun = time.perf_counter()
        # Reading a number waits for the device.
        (a @ b)[0, 0].item()
        seconds.append(time.perf_counter() - begun)
    peaks = {
        f"{dtype} product of {side} x {side}, measured": 2 * side**3 / statistics.median(seconds)
    }
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        peaks |= {f"{card} datasheet": flop for card, flop in PEAKS.items() if card in name}
    return peaks


def write_base_once(folder: Path, size: str) -> None:
    """Random weights at true size, unless they are there."""
    if not (folder / "model_index.json").is_file():
        sys.path.insert(0, str(ROOT / "benchmarks"))
        from random_base import write_base

        write_base(folder, size, dtype="bfloat16")


def write_pictures(place: Path, concepts: int, pictures: int, side: int) -> list[Path]:
    """Folders of smooth pictures: noise would not compress, and photographs are not noise."""
    import numpy as np
    from PIL import Image

    folders = [place / f"cat{n}" for n in range(1, concepts + 1)]
    for n, folder in enumerate(folders):
        folder.mkdir()
        for m in range(pictures):
            coarse = np.random.default_rng((n, m)).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(
                folder / f"{m:02}.png"
            )
    return folders


if __name__ == "__main__":
    restart_in_large_pages()  # as the command does
    main()
