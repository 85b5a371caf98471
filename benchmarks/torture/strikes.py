"""Runs that are killed, or that find the disk full; and the same command twice.

Every process that is killed is one that this program started.
"""

from __future__ import annotations

import hashlib
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

from forked import PHASES, Ended, prepare, run

_SEED = 0


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
        again: still more, from the first kill on that strikes a run that has begun; of one struck
            before that, nothing is there, and other words would begin another one.
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
                if (out / "run.yaml").is_file():
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
