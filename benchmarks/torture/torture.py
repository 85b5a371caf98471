"""Kills, full disks, hostile inputs and the other figures of docs/reliability.md, measured.

    python benchmarks/torture/torture.py --json benchmarks/results/torture-cpu.json
    python benchmarks/torture/torture.py --parts kills disk --json short.json --kills 8

Each part is written when it is done, and left out when it is there already, so that a run that was
stopped goes on with the part that it was in; --again makes the parts that are named anew.
Every process that is killed is one that this program started.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HOME = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]

from forked import PHASES, Ended, prepare, run  # noqa: E402

_SEED = 0
TWO = ("--batch-concepts", "2")


class Told:
    """Progress with what is left by the pace so far."""

    def __init__(self, part: str, total: int):
        self._part, self._total, self._done, self._start = part, total, 0, time.monotonic()

    def step(self, words: str) -> None:
        """One more is done."""
        self._done += 1
        left = (time.monotonic() - self._start) / self._done * (self._total - self._done)
        done = f"{self._part} {self._done}/{self._total}"
        print(f"{done}, {left / 60:.1f} min left: {words}", flush=True)


def adapters(out: Path) -> dict[str, str]:
    """sha256 of every file of weights that a run leaves, without its checkpoints."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*.safetensors"))
        if "checkpoints" not in path.parts
    }


def sound(ended: Ended) -> bool:
    """Whether a command ended well, or refused in one line of ours."""
    lines = [line for line in ended.said.splitlines() if line.startswith("textreg: ")]
    return "Traceback" not in ended.said and (ended.code == 0 or len(lines) >= 1)


def straight(work: Path, words: list[str], name: str) -> tuple[Ended, Path]:
    """The same command, never struck; once a name."""
    out = work / f"straight-{name}"
    ended = run([*words, "--out", str(out)])
    if ended.code:
        raise SystemExit(f"the run that nothing strikes fails: {ended.said}")
    return ended, out


def kills(
    work: Path,
    concepts: int,
    count: int,
    part: str,
    first: tuple[str, ...] = (),
    again: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Kill at a random moment of every phase in turn, three times a run, then let it finish.

    Args:
        work: an empty folder.
        concepts: of a run.
        count: kills in all.
        part: its name.
        first: more words for the command.
        again: still more, from the first kill on.
    """
    words = prepare(work, concepts) + list(first)
    whole, out = straight(work, words, part)
    wanted, struck = adapters(out), dict.fromkeys(PHASES, 0)
    draw, told = random.Random(f"{_SEED} {part}"), Told(part, count)
    same = failed = number = runs = 0
    while sum(struck.values()) < count:
        out = work / f"{part}-{runs}"
        command, here = [*words, "--out", str(out)], 0
        for _ in range(3):
            phase = PHASES[number % len(PHASES)]
            number += 1
            ended = run(command, kill=(phase, draw.random() * whole.lasted(phase)))
            if ended.code == -signal.SIGKILL and sum(struck.values()) < count:
                struck[ended.phase] += 1
                here += 1
                command = [*words, *again, "--out", str(out)]
                told.step(f"{ended.phase} after {ended.seconds:.1f} s")
        last = run(command)
        runs += 1
        found = adapters(out)
        if last.code == 0 and found == wanted:
            same += here
        else:
            failed += 1
            print(f"NOT THE SAME: {out} exit {last.code} {last.said[-600:]}", flush=True)
    return {"kills": sum(struck.values()), "same": same, "runs": runs, "phases": struck}


def disk(work: Path) -> dict[str, Any]:
    """No file may be larger than so many bytes, from each phase on; then the same command again."""
    words = prepare(work, 1)
    _, out = straight(work, words, "disk")
    wanted = adapters(out)
    sizes = sorted({p.stat().st_size for p in out.rglob("*") if p.is_file()} - {0})
    # From the first byte in each phase; then, from the start on, just too little for every file.
    cases = [(phase, 0) for phase in PHASES]
    cases += [(PHASES[0], size - 1) for size in sizes[:: max(1, len(sizes) // 6)]]
    told, rows = Told("disk", len(cases)), list[dict[str, Any]]()
    for number, (phase, limit) in enumerate(cases):
        out = work / f"disk-{number}"
        ended = run([*words, "--out", str(out)], file_size=(phase, limit))
        line = next((x for x in ended.said.splitlines() if x.startswith("textreg: ")), "")
        again = run([*words, "--out", str(out)])
        rows.append(
            {
                "from": phase,
                "limit": limit,
                "struck in": ended.phase,
                "exit": ended.code,
                "one line": sound(ended) and str(out) in line,
                "bytes named": bool(re.search(r"[\d,]+ bytes needed", line)),
                "goes on to the same": again.code == 0 and adapters(out) == wanted,
            }
        )
        told.step(f"from {phase}, {limit} bytes: exit {ended.code}")
        if not (rows[-1]["one line"] and rows[-1]["goes on to the same"]):
            print(f"FULL DISK {rows[-1]}: {ended.said[-600:]} {again.said[-300:]}", flush=True)
    return {"rows": rows}


def twice(work: Path) -> dict[str, Any]:
    """The same command twice: the same bytes of every file of weights."""
    words = prepare(work, 2)
    found = [adapters(straight(work, words, f"twice-{n}")[1]) for n in range(2)]
    return {"files": len(found[0]), "same": found[0] == found[1]}


def told_by_tests(*names: str, examples: int | None = None) -> dict[str, Any]:
    """Tests of the repository with what they record of themselves."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-m", "", "-p", "no:xdist", "-o", "junit_family=xunit1", f"--junit-xml={report}"]
        if examples:
            options.append("--hypothesis-show-statistics")
        more = {"TEXTREG_FAULT_EXAMPLES": str(examples)} if examples else {}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *names],
            cwd=HOME,
            env=os.environ | {"PYTHONPATH": str(HOME / "src")} | more,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout[-3000:], flush=True)
        suite = ElementTree.parse(report).getroot()[0]
    found: dict[str, Any] = {
        "tests": int(suite.attrib["tests"]),
        "passed": int(suite.attrib["tests"])
        - sum(int(suite.attrib[what]) for what in ("failures", "errors", "skipped")),
    }
    for entry in suite.iter("property"):
        # Hypothesis has properties of its own.
        if (name := entry.attrib["name"]) == "faults":
            found[name] = found.get(name, 0) + int(entry.attrib["value"])
    if examples:
        each = re.findall(r"- (\d+) passing, (\d+) failing", done.stdout)
        found |= {
            "kinds": len(set(re.findall(r"^tests/\S+::(\w+):$", done.stdout, re.M))),
            "inputs": sum(int(passing) + int(failing) for passing, failing in each),
            "failing": sum(int(failing) for _, failing in each),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", metavar="PART", help="default: all")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--inputs", type=int, default=10000)
    parser.add_argument("--hardware", default="2-core AMD EPYC (Zen 4), CPU")
    given = parser.parse_args()
    few = max(1, given.kills // 5)
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "twice": twice,
        "kills": lambda work: kills(work, 1, given.kills, "kills"),
        "four": lambda work: kills(work, 4, few, "four"),
        # In float64 a batch of another size differs far below what the files, in float32, show.
        "company": lambda work: kills(
            work, 4, few, "company", (*TWO, "--dtype", "fp64"), ("--batch-concepts", "4")
        ),
        "company32": lambda work: kills(work, 4, few, "company", TWO, ("--batch-concepts", "4")),
        "disk": disk,
        "writes": lambda _: told_by_tests(
            "tests/faults/test_checkpoint_writes.py", "tests/faults/test_export_writes.py"
        ),
        "quarantine": lambda _: told_by_tests(
            "tests/test_quarantine.py::test_the_others_are_bit_equal_and_the_bad_one_stays"
        ),
        "lock": lambda _: told_by_tests("tests/faults/test_run_lock.py"),
        "signals": lambda _: told_by_tests("tests/faults/test_signals.py"),
        "checkpoints": lambda _: told_by_tests(
            "tests/test_checkpoint.py", "tests/faults/test_checkpoint_content.py"
        ),
        "hostile": lambda _: told_by_tests(
            "tests/faults/test_hostile_inputs.py", examples=-(-given.inputs // 7)
        ),
    }
    if unknown := set(given.parts or ()) - parts.keys():
        parser.error(f"--parts {sorted(unknown)[0]}: known are {', '.join(parts)}")
    for name in given.parts or parts:
        found = json.loads(given.json.read_text()) if given.json.is_file() else {}
        if name in found and not given.again:
            print(f"{name}: there already", flush=True)
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            part = parts[name](Path(work))
        part["seconds"] = round(time.monotonic() - start)
        # Read again: another process may have written its part meanwhile.
        found = json.loads(given.json.read_text()) if given.json.is_file() else {}
        found = {"hardware": given.hardware} | found | {name: part}
        partial = given.json.with_name(f".{given.json.name}.partial")
        partial.write_text(json.dumps(found, indent=1) + "\n")
        partial.replace(given.json)
        print(f"{name}: {json.dumps(part)}", flush=True)


if __name__ == "__main__":
    main()
