"""The rendered training set on disk: shards of pictures, drawn by all cores, each shard once."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .attributes import Kind, Picture, numbered_picture
from .world import SIDE, render

if TYPE_CHECKING:
    from collections.abc import Sequence


def shard_path(folder: Path, number: int) -> Path:
    """Return where a shard lies."""
    return folder / f"pictures-{number:03d}.npy"


def write_shards(folder: Path, kind: Kind, size: int, numbers: Sequence[int]) -> None:
    """Render and write those of the shards that are missing; shard k starts at seed k * size."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = shard_path(folder, number)
        if path.exists():
            continue
        seeds = range(number * size, (number + 1) * size)
        pixels = np.stack([np.asarray(render(numbered_picture(kind, seed))) for seed in seeds])
        unfinished = path.with_suffix(".partial")
        with unfinished.open("wb") as file:
            np.save(file, pixels, allow_pickle=False)
        unfinished.replace(path)


def render_shards(folder: Path, kind: Kind, size: int, num_shards: int) -> None:
    """Make sure that all shards exist; one process a core renders what is missing."""
    missing = [n for n in range(num_shards) if not shard_path(folder, n).exists()]
    workers = min(os.cpu_count() or 1, len(missing))
    processes = []
    for worker in range(workers):
        numbers = [str(n) for n in missing[worker::workers]]
        command = [sys.executable, "-m", "textreg.toyland.dataset", str(folder), kind, str(size)]
        processes.append(subprocess.Popen(command + numbers))
    failed = [process.args for process in processes if process.wait() != 0]
    if failed:
        raise RuntimeError(f"rendering failed: {failed}")


class Pictures:
    """The shards as one indexable set; pixels stay on disk until they are asked for."""

    def __init__(self, folder: Path, kind: Kind, size: int, num_shards: int) -> None:
        self.size = size
        self.kind: Kind = kind
        self.shards = [
            np.load(shard_path(folder, n), mmap_mode="r", allow_pickle=False)
            for n in range(num_shards)
        ]
        self._attributes: list[Picture | None] = [None] * len(self)

    def __len__(self) -> int:
        return self.size * len(self.shards)

    def pixels(self, indices: Sequence[int]) -> np.ndarray:
        """Return uint8 pictures [n, 64, 64, 3]."""
        out = np.empty((len(indices), SIDE, SIDE, 3), np.uint8)
        for row, index in enumerate(indices):
            out[row] = self.shards[index // self.size][index % self.size]
        return out

    def attributes(self, index: int) -> Picture:
        """Return what the picture shows."""
        known = self._attributes[index]
        if known is None:
            known = self._attributes[index] = numbered_picture(self.kind, index)
        return known


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", choices=("train", "judge", "evaluate"))
    parser.add_argument("size", type=int)
    parser.add_argument("numbers", type=int, nargs="+")
    arguments = parser.parse_args()
    write_shards(arguments.folder, arguments.kind, arguments.size, arguments.numbers)
