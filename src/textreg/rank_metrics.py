"""metrics.jsonl while several ranks train: rank 3 writes metrics-3.jsonl, rank 0 joins them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from textreg.checkpoint import publish
from textreg.ranks import Ranks
from textreg.run_folder import RunFolder, place_of


def deal(
    place: RunFolder, waves: Sequence[Sequence[str]], owners: Mapping[str, int] | None = None
) -> None:
    """Put every line into the file of the rank that goes on with its concept, wave by wave.

    Killed within it leaves lines twice, never none; they are one again at the next call.

    Args:
        place: the run's folder; called by rank 0, while no rank writes.
        waves: the names of each wave's concepts: the order of one process's file.
        owners: the rank of a concept, by name; others, or all: metrics.jsonl itself.
    """
    files = sorted(place.path.glob("metrics-*.jsonl"))
    if not files and len(waves) < 2:
        return
    # What follows the last line break was cut off by a kill: its step is taken again.
    lines = dict.fromkeys(
        line
        for path in (place.metrics, *files)
        if path.is_file()
        for line in path.read_bytes().split(b"\n")[:-1]
    )
    order = {name: number for number, names in enumerate(waves) for name in names}
    names = {line: (place_of(line) or (0, ""))[1] for line in lines}
    joined = sorted(lines, key=lambda line: order.get(names[line], -1))
    if not lines or (not files and not owners and joined == list(lines)):
        return
    _write(place.metrics, joined)
    dealt: dict[Path, list[bytes]] = {path: [] for path in (*files, place.metrics)}
    for line in joined:
        path = RunFolder(place.run, (owners or {}).get(names[line], 0)).metrics
        dealt.setdefault(path, []).append(line)
    dealt[place.metrics] = dealt.pop(place.metrics)  # last: until then it holds all of them
    for path, own in dealt.items():
        if own or path == place.metrics:
            _write(path, own)
        else:
            path.unlink()


def owners(
    names: Sequence[Sequence[str]], left: Sequence[int], ranks: Ranks, together: Ranks
) -> dict[str, int]:
    """The rank that writes of each concept, by name, where that is not rank 0; says who does what.

    Args:
        names: the concepts of each wave.
        left: the waves that are left to train.
        ranks: all.
        together: those that divide samples.
    """
    if ranks.size == 1:
        return {}
    if together.size > 1:
        print(f"textreg: {ranks.size} processes divide each step's samples", file=sys.stderr)
        return {}
    idle = max(0, ranks.size - len(left))
    rest = f"; {idle} of them have nothing to train" if idle else ""
    print(f"textreg: {ranks.size} processes, {len(left)} waves to train{rest}", file=sys.stderr)
    return {name: n % ranks.size for n, number in enumerate(left) for name in names[number]}


def _write(path: Path, lines: Sequence[bytes]) -> None:
    publish(path, b"".join(line + b"\n" for line in lines))
