"""The denoiser operator by operator against what it records of itself, in turns.

    python benchmarks/speed/recorded.py

Prints median milliseconds of a pass without gradients, and of one forward and backward to the keys
and values, by batch and precision; and how long recording takes, with its check (decision 0079).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from provenance import processor
from torch import Tensor
from training_run import recorded_at_once

from textreg.backbone import load
from textreg.speed import pass_inputs

Pass = Callable[..., Tensor]


def drawing(denoiser: Pass, *inputs: object) -> None:
    """A pass without gradients."""
    with torch.no_grad():
        denoiser(*inputs)


def training(denoiser: Pass, *inputs: object) -> None:
    """A pass forward and backward."""
    denoiser(*inputs).float().square().mean().backward()


def in_turns(calls: Sequence[Callable[[], None]], repeats: int) -> list[float]:
    """Median milliseconds of each call."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 5):
        for own, call in zip(seconds, calls, strict=True):
            begun = time.perf_counter()
            call()
            own.append(time.perf_counter() - begun)
    return [1e3 * statistics.median(own[5:]) for own in seconds]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--dtypes", default="fp32,bf16", help="by comma")
    parser.add_argument("--batches", default="1,4,16", help="by comma")
    parser.add_argument("--repeats", type=int, default=60)
    arguments = parser.parse_args()
    print(processor())
    with recorded_at_once():
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Each precision and batch."""
    for dtype in arguments.dtypes.split(","):
        backbone = load(arguments.base, device="cpu", dtype=dtype)
        denoiser = backbone.denoiser
        for batch in (int(n) for n in arguments.batches.split(",")):
            inputs = pass_inputs(backbone, batch)
            training(denoiser, *inputs)
            begun = time.perf_counter()
            training(denoiser, *inputs)
            seconds, packed = time.perf_counter() - begun, len(denoiser.recorded.packed or ())
            line = f"{dtype}, batch {batch}: recorded in {seconds:.2f} s, {packed} packed so far"
            for name, work in (("drawing", drawing), ("training", training)):
                calls = [partial(work, one, *inputs) for one in (denoiser.eager, denoiser)]
                eager, replayed = in_turns(calls, arguments.repeats)
                line += f"; {name} {eager:.1f} ms, replayed {replayed:.1f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
