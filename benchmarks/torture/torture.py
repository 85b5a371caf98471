"""Kills, full disks, hostile inputs and the other figures of docs/reliability.md, measured.

    python benchmarks/torture/torture.py --json benchmarks/results/torture-cpu.json
    python benchmarks/torture/torture.py --parts kills disk --json short.json --kills 8

Two parts are measured at a time, each by a process of its own. Each is written when it is done,
with its commit, and left out when it is there already of this very commit, so that a run that was
stopped goes on with the parts that it was in; --again makes them anew all the same. The exit code
is 1 if anything came out otherwise than docs/reliability.md promises. Every part records its CPU
seconds beside those of the clock: on a machine that others use, they are what it takes.
Every process that is killed is one that this program started.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HOME = HERE.parents[1]
sys.path += [str(HERE), str(HERE.parent), str(HERE.parent / "speed")]

from provenance import provenance  # noqa: E402
from strikes import disk, kills, twice  # noqa: E402

TWO, FOUR = (("--batch-concepts", n) for n in "24")
WIDE = ("--dtype", "fp64")
HOSTILE = "tests/faults/test_hostile_inputs.py"
KINDS = len(re.findall(r"^@generated$", (HOME / HOSTILE).read_text(), re.M))
"""Tests there that are given generated inputs."""


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
    count = {what: int(suite.attrib[what]) for what in ("tests", "failures", "errors", "skipped")}
    passed = count["tests"] - count["failures"] - count["errors"] - count["skipped"]
    found: dict[str, Any] = {"tests": count["tests"], "passed": passed}
    if count["skipped"]:
        found["skipped"] = count["skipped"]
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


def parts_of(count: int, inputs: int) -> dict[str, Callable[[Path], dict[str, Any]]]:
    """Every part by name, the longest first; each is given an empty folder.

    Args:
        count: kills of one concept.
        inputs: generated inputs, of all kinds together; rounded up to as many of each.
    """
    few = max(1, count // 5)
    return {
        "hostile": lambda _: told_by_tests(HOSTILE, examples=-(-inputs // KINDS)),
        "kills": lambda work: kills(work, 1, count, "kills"),
        "disk": disk,
        "four": lambda work: kills(work, 4, few, "four"),
        # More than the run began with: it goes on with the waves that it has.
        "company": lambda work: kills(work, 4, few, "company", TWO, FOUR),
        # Fewer, as for want of memory: the waves that have not begun are of that many. In float64
        # a batch of another size differs far below what the files, in float32, show.
        "fewer": lambda work: kills(work, 4, few, "fewer", (*FOUR, *WIDE), TWO),
        "twice": twice,
        "writes": lambda _: told_by_tests(
            "tests/faults/test_checkpoint_writes.py", "tests/faults/test_export_writes.py"
        ),
        "quarantine": lambda _: told_by_tests(
            "tests/test_quarantine.py::test_the_others_are_bit_equal_and_the_bad_one_stays"
        ),
        "lock": lambda _: told_by_tests(
            "tests/faults/test_run_lock.py", "tests/faults/test_small_disk.py"
        ),
        "signals": lambda _: told_by_tests("tests/faults/test_signals.py"),
        "checkpoints": lambda _: told_by_tests(
            "tests/test_checkpoint.py", "tests/faults/test_checkpoint_content.py"
        ),
    }


def measure(name: str, part: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """A part's figures, with what it took."""
    start, cpu = time.monotonic(), cpu_seconds()
    with tempfile.TemporaryDirectory() as work:
        found = part(Path(work))
    found |= {
        "seconds": round(time.monotonic() - start),
        "cpu seconds": round(cpu_seconds() - cpu),
    }
    print(f"{name}: {json.dumps(found)}", flush=True)
    return found


def cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, who))


def as_promised(part: dict[str, Any]) -> bool:
    """Whether every kill, limit, test and input of a part came out as docs/reliability.md says."""
    rows = part.get("rows", ())
    return (
        part.get("same", True) == part.get("kills", True)
        and part.get("passed", 0) + part.get("skipped", 0) == part.get("tests", 0)
        and not part.get("failing")
        and all(row["goes on to the same"] for row in rows)
        and all(row["one line"] for row in rows if row["exit"])
    )


def note(path: Path, name: str, part: dict[str, Any]) -> None:
    """Put a part's figures beside the others, of which another process may add one as well."""
    turn = os.open(path.parent, os.O_RDONLY)  # a folder can be locked, and so leaves no file
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        found = there(path) | {name: part}
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(found, indent=1) + "\n")
        partial.replace(path)
    finally:
        os.close(turn)


def there(path: Path) -> dict[str, Any]:
    """What was measured so far."""
    return json.loads(path.read_text()) if path.is_file() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", metavar="PART", help="default: all")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--jobs", type=int, default=2, help="parts at a time")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--inputs", type=int, default=10000)
    parser.add_argument("--condition", metavar="TEXT", help="of the machine; stands in the page")
    given = parser.parse_args()
    parts = parts_of(given.kills, given.inputs)
    if unknown := set(given.parts or ()) - parts.keys():
        parser.error(f"--parts {sorted(unknown)[0]}: known are {', '.join(parts)}")
    made = provenance()
    made = {key: made[key] for key in ("hardware", "environment", "commit", "changed_since")}
    made |= {"note": given.condition} if given.condition else {}
    before = {} if given.again or made["changed_since"] else there(given.json)
    same = [n for n, part in before.items() if part["made"]["commit"] == made["commit"]]
    names = [n for n in given.parts or parts if n not in same]
    if len(names) == 1:
        found = measure(names[0], parts[names[0]])
        note(given.json, names[0], found | {"made": made})
        if not as_promised(found):
            sys.exit(f"{names[0]}: not as promised")
        return
    words = ["--json", str(given.json), "--kills", str(given.kills), "--inputs", str(given.inputs)]
    words += ["--again"]
    words += ["--condition", given.condition] if given.condition else []

    def alone(name: str) -> int:
        return subprocess.run([sys.executable, __file__, "--parts", name, *words]).returncode

    with ThreadPoolExecutor(given.jobs) as pool:
        failed = [name for name, code in zip(names, pool.map(alone, names), strict=True) if code]
    if failed:
        sys.exit(f"not measured, or not as promised: {', '.join(failed)}")


if __name__ == "__main__":
    main()
