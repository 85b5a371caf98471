"""How many concepts share a batch where the memory decides."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from textreg.backbone import Backbone
from textreg.config import Concept, Run, Tuning
from textreg.run_folder import RunFolder
from textreg.wave_size import free_bytes, wave_size
from textreg.waves import waves_of
from tiny_run import tiny_run


@pytest.fixture
def make_run(tiny_base: Path, tmp_path: Path) -> Callable[..., Run]:
    """Of so many concepts, whose pictures nobody reads."""

    def make(concepts: int, **changes: Any) -> Run:
        each = tuple(
            Concept(images=Path(f"c{n}"), noun="cat", identifier=f"<krk{n}>")
            for n in range(concepts)
        )
        return tiny_run(tiny_base, tmp_path / "run", concepts=each, **changes)

    return make


@pytest.mark.parametrize(
    ("prior", "steps", "sizes"),
    [
        ("textreg", 2, [3, 2]),
        ("class-images", 2, [1] * 5),
        ("output-preservation", 2, [1] * 5),
        ("class-images+output-preservation", 2, [1] * 5),
        ("class-images", 0, [3, 2]),
    ],
)
def test_auto_counts_the_samples_that_a_prior_adds(
    backbone: Backbone,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    prior: str,
    steps: int,
    sizes: list[int],
) -> None:
    """Room for three samples: three concepts alone, one with the class's sample."""
    monkeypatch.setattr("textreg.wave_size._bytes_kept", lambda *_: 100)
    monkeypatch.setattr("textreg.wave_size.free_bytes", lambda _: 500)
    run = make_run(5, prior=prior, tuning=Tuning(steps=steps, rank=2))
    size = wave_size(run, RunFolder(run), backbone)
    assert [w.end - w.first for w in waves_of(run.out / "checkpoints", 5, size)] == sizes


@pytest.mark.parametrize(("prior", "most"), [("textreg", 64), ("output-preservation", 32)])
def test_the_largest_batch_is_of_samples(
    backbone: Backbone,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    prior: str,
    most: int,
) -> None:
    monkeypatch.setattr("textreg.wave_size._bytes_kept", lambda *_: 1)
    run = make_run(64, prior=prior)
    assert wave_size(run, RunFolder(run), backbone) == most


class _Graph:
    """In a reference cycle, as torch's own are."""

    def __init__(self) -> None:
        self.itself = self


def test_what_torch_keeps_for_later_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier run of the process makes the next one's batches no smaller."""
    alive: weakref.WeakSet[_Graph] = weakref.WeakSet()
    free = [100]

    def empty() -> None:
        free[0] = 500 if len(alive) == 0 else 300

    monkeypatch.setattr(torch.cuda, "empty_cache", empty)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free[0], 1000))
    gc.disable()
    try:
        alive.add(_Graph())
        assert free_bytes(torch.device("cuda")) == 500
    finally:
        gc.enable()


MIB = 2**20
CONTAINER = {
    "max": f"{8 * MIB}\n",
    "current": f"{7 * MIB}\n",
    "stat": f"anon {2 * MIB}\nfile {5 * MIB}\nshmem {MIB}\ninactive_file {3 * MIB}\n"
    f"active_file {MIB}\n",
}


@pytest.mark.parametrize(
    ("changes", "free"),
    [
        ({}, 5 * MIB),
        ({"stat": None}, MIB),
        ({"stat": "anon 0\n"}, MIB),
        ({"current": f"{20 * MIB}"}, 0),
    ],
)
def test_in_a_container_what_is_kept_of_files_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], free: int
) -> None:
    """But not what lies in shared memory, which counts as of files as well."""
    monkeypatch.setattr("textreg.wave_size._CGROUP", tmp_path)
    for name, text in (CONTAINER | changes).items():
        if text is not None:
            (tmp_path / f"memory.{name}").write_text(text)
    assert free_bytes(torch.device("cpu")) == free


def test_without_a_limit_the_machines_memory_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textreg.wave_size._CGROUP", tmp_path)
    alone = free_bytes(torch.device("cpu"))
    assert alone > 64 * MIB
    for name, text in (CONTAINER | {"max": "max\n"}).items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_bytes(torch.device("cpu")) > 64 * MIB
