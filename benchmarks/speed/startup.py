"""From a command to its help, and to the first step of training on Toyland.

    python benchmarks/speed/startup.py --json benchmarks/results/startup-cpu.json

Whole processes, as a shell starts them, with warm file caches: one round is thrown away. A run is
timed until its first step lies on the disk, published as a checkpoint (save_steps 1), and is then
stopped. Wall time counts whatever else the machine does; CPU time, of all threads, does so less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provenance import ROOT, provenance, write_report

TEXTREG = (sys.executable, "-m", "textreg")
TARGET = {"help": 0.3, "first step": 6.0}
"""Seconds of wall time on a quiet machine."""
VERBS = ("train", "sample", "export", "import", "evaluate", "compare", "check", "demo", "toyland")
_POLL = 0.002


def main() -> None:
    """Measure; print and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--images", type=Path, default=ROOT / "custom_datasets/data/cat")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    begun = provenance()
    rows = {"help": _row(_help_of([]), arguments.rounds)}
    for verb in VERBS:
        rows[f"{verb} --help"] = _row(_help_of([verb]), arguments.rounds)
    rows["first step"] = _row(lambda: _first_step(arguments.images), arguments.rounds)
    write_report(begun | {"targets_seconds": TARGET, "rows": rows}, arguments.json)


def _row(measure: Callable[[], tuple[float, float]], rounds: int) -> dict[str, Any]:
    """Median and range of wall and CPU seconds; the first round fills the caches."""
    measure()
    walls, cpus = zip(*(measure() for _ in range(rounds)), strict=True)
    return {
        "rounds": rounds,
        "wall_seconds": statistics.median(walls),
        "wall_range": [min(walls), max(walls)],
        "cpu_seconds": statistics.median(cpus),
        "cpu_range": [min(cpus), max(cpus)],
    }


def _help_of(verb: list[str]) -> Callable[[], tuple[float, float]]:
    def measure() -> tuple[float, float]:
        begun = time.perf_counter()
        child = subprocess.Popen([*TEXTREG, *verb, "--help"], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"textreg {verb} --help ended with {child.returncode}")
        return time.perf_counter() - begun, used.ru_utime + used.ru_stime

    return measure


def _first_step(images: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a process until its first step is published."""
    with tempfile.TemporaryDirectory() as place:
        out, settings = Path(place) / "run", Path(place) / "settings.yaml"
        settings.write_text("save_steps: 1\n")
        words = ["train", str(images), "--noun", "cat", "--config", str(settings)]
        begun = time.perf_counter()
        child = subprocess.Popen(
            [*TEXTREG, *words, "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not any((out / "checkpoints").glob("[!.]*.safetensors")):
                if child.poll() is not None:
                    raise RuntimeError(f"textreg train ended with {child.returncode}")
                time.sleep(_POLL)
            return time.perf_counter() - begun, _cpu_seconds(child.pid)
        finally:
            child.terminate()
            child.wait()


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process that still runs, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
