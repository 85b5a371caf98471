"""Kills, full disks and hostile inputs: what docs/reliability.md says, measured.

    python benchmarks/torture/torture.py --json docs/reliability.json
    python benchmarks/torture/torture.py --kills 4 --examples 50 --json short.json

Every process that is killed is one that this program started.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
PHASES = ("loading", "caching", "stage 1", "switch", "stage 2", "sampling", "export")
_LIMIT = 300
"""Seconds that one run may take."""


def worker(base: Path, data: Path, out: Path, concepts: int) -> list[str]:
    """A command that trains to a finished folder and says which phase it is in."""
    return [sys.executable, str(HERE / "worker.py"), str(base), str(data), str(out), str(concepts)]


def run(command: list[str], kill: Callable[[str], float | None] | None = None, **more: Any):
    """Run a command; kill it that many seconds after a phase began for which `kill` gives a number.

    Returns:
        Exit code, the last phase it was in, and what it said to stderr.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )
    assert process.stdout is not None
    assert process.stderr is not None
    timer = threading.Timer(_LIMIT, process.kill)
    timer.start()
    phase, killer = "", None
    for line in process.stdout:
        phase = line.strip()
        delay = kill(phase) if kill and killer is None else None
        if delay is not None:
            killer = threading.Timer(delay, process.send_signal, [signal.SIGKILL])
            killer.start()
    said = process.stderr.read()
    code = process.wait()
    for clock in (timer, killer):
        if clock is not None:
            clock.cancel()
    return code, phase, said


def adapters(out: Path) -> dict[str, str]:
    """sha256 of every file of weights that a run leaves, without its checkpoints."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*.safetensors"))
        if "checkpoints" not in path.parts
    }


def kills(base: Path, data: Path, work: Path, concepts: int, count: int) -> dict[str, Any]:
    """Kill at a random moment of every phase in turn, a run of `concepts`, until `count` struck.

    Each run is killed three times, then finished; its files must be those of an unkilled run.
    """
    draw = random.Random(concepts)
    straight = work / f"straight-{concepts}"
    assert run(worker(base, data, straight, concepts))[0] == 0
    wanted, struck = adapters(straight), dict.fromkeys(PHASES, 0)
    same = runs = number = 0
    while sum(struck.values()) < count and number < 3 * count:
        out = work / f"killed-{concepts}-{runs}"
        in_this_run = 0
        for _ in range(3):
            wanted_phase = PHASES[number % len(PHASES)]
            number += 1
            code, phase, _ = run(
                worker(base, data, out, concepts),
                lambda now, want=wanted_phase: draw.random() * 0.1 if now == want else None,
            )
            if code == -signal.SIGKILL:
                struck[phase] = struck.get(phase, 0) + 1
                in_this_run += 1
        code, _, said = run(worker(base, data, out, concepts))
        runs += 1
        equal = code == 0 and adapters(out) == wanted
        same += in_this_run if equal else 0
        if not equal:
            print(f"NOT THE SAME: {out} exit {code} {said[-500:]}", flush=True)
        print(f"{concepts} concepts: {sum(struck.values())} kills, {same} the same", flush=True)
    return {"kills": sum(struck.values()), "same": same, "runs": runs, "phases": struck}


def full_disk(base: Path, data: Path, work: Path) -> list[dict[str, Any]]:
    """A limit on the size of files, smaller and smaller: one line and exit 2, then it goes on."""
    straight = work / "straight-1"
    wanted = adapters(straight)
    sizes = sorted({p.stat().st_size for p in straight.rglob("*") if p.is_file()})
    rows: list[dict[str, Any]] = []
    limits = sorted({1, *(size - 1 for size in sizes if size > 1)})
    for limit in limits[:: max(1, len(limits) // 8)]:
        out = work / f"full-{limit}"
        code, phase, said = run(
            worker(base, data, out, 1),
            preexec_fn=lambda most=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        )
        # Beside the bars that libraries draw.
        lines = [line for line in said.splitlines() if line.startswith("textreg:")]
        again = run(worker(base, data, out, 1))[0]
        rows.append(
            {
                "limit": limit,
                "phase": phase,
                "exit": code,
                "one_line": len(lines) == 1 and "Traceback" not in said,
                "goes_on_to_the_same": again == 0 and adapters(out) == wanted,
            }
        )
        if not (rows[-1]["one_line"] and rows[-1]["goes_on_to_the_same"]):
            print(f"FULL DISK {rows[-1]}: {said[-800:]}", flush=True)
    return rows


def hostile(examples: int) -> dict[str, Any]:
    """The generated inputs of tests/faults/test_hostile_inputs.py, many of each kind."""
    home = HERE.parents[1]
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "tests/faults/test_hostile_inputs.py"],
        cwd=home,
        env=os.environ | {"TEXTREG_FAULT_EXAMPLES": str(examples)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout[-1500:] if done.returncode else "hostile inputs: all answered", flush=True)
    return {
        "examples_of_each_of_8_kinds": examples,
        "passed": done.returncode == 0,
        "seconds": round(time.monotonic() - start),
    }


def pictures(folder: Path, concepts: int) -> None:
    for concept in range(concepts):
        (folder / f"c{concept}").mkdir(parents=True)
        for n in range(4):
            noise = np.random.default_rng(10 * concept + n).integers(0, 256, (64, 64, 3), np.uint8)
            Image.fromarray(noise).save(folder / f"c{concept}" / f"{n}.png")


def main() -> None:
    from random_base import write_base

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of them a fifth with 4 concepts")
    parser.add_argument("--examples", type=int, default=1250, help="of each kind of hostile input")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        base = write_base(work / "base")
        pictures(work / "data", 4)
        several = max(1, given.kills // 5)
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "kills_one_concept": kills(base, work / "data", work, 1, given.kills - several),
            "kills_four_concepts": kills(base, work / "data", work, 4, several),
            "full_disk": full_disk(base, work / "data", work),
        }
        again = work / "again"
        code = run(worker(base, work / "data", again, 1))[0]
        result["same_command_twice_same_bytes"] = code == 0 and (
            adapters(again) == adapters(work / "straight-1")
        )
    result["hostile"] = hostile(given.examples)
    result["minutes"] = round((time.monotonic() - start) / 60, 1)
    given.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
