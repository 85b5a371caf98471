"""Training in large pages of memory, as the command starts itself, against training without them.

    python benchmarks/speed/large_pages.py --json benchmarks/results/large_pages-cpu.json

Each run is a process of its own (scaling.py's), in the order A B B A; what differs is the one
setting of the C library's that textreg/large_pages.py gives.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from provenance import provenance, rounded, write_report

from textreg.large_pages import TUNABLES

WAYS = {"small": {next(iter(TUNABLES)): ""}, "large": TUNABLES}
STAGES = ("inversion", "tuning")


def main() -> None:
    """Measure; print and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--dtypes", default="fp32,bf16", help="by comma")
    parser.add_argument("--concepts", default="1,16", help="of a run, by comma")
    parser.add_argument("--rounds", type=int, default=2, help="A B B A, so many times")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for dtype in arguments.dtypes.split(","):
        for concepts in arguments.concepts.split(","):
            rows.append(measured(dtype, concepts, arguments.rounds))
            print(json.dumps(rounded(rows[-1])), file=sys.stderr, flush=True)
    write_report({"rows": rows, **provenance()}, arguments.json)


def measured(dtype: str, concepts: str, rounds: int) -> dict[str, Any]:
    """Seconds of a step of each stage, and peak memory, in pages of either size."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    script = str(Path(__file__).with_name("scaling.py"))
    words = [sys.executable, script, "--one", concepts, "--dtype", dtype]
    for way in [*WAYS, *reversed(WAYS)] * rounds:
        environment = {**os.environ, **WAYS[way]}
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found[way].append(json.loads(done.stdout.splitlines()[-1]))
    row: dict[str, Any] = {"dtype": dtype, "concepts": int(concepts)}
    for stage in STAGES:
        key = f"{stage}_seconds"
        small, large = (statistics.mean(one[key] for one in found[way]) for way in WAYS)
        row[stage] = {"small": small, "large": large, "ratio": small / large}
    row["peak_gibibytes"] = {
        way: statistics.mean(one["peak_gibibytes"] for one in found[way]) for way in WAYS
    }
    return row


if __name__ == "__main__":
    main()
