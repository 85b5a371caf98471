"""A tiny Stable Diffusion with random weights, and a folder of pictures, for every test."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
# Tensors this small gain nothing from threads, and lose much where cores are busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# Imported where they are used: what only hands tests out to other processes needs no torch.
if TYPE_CHECKING:
    from textreg.backbone import Backbone
    from textreg.config import Run


SLOW_LIMIT = 1800
"""Seconds of the clock that one slow test may take, on a busy machine too; what hangs ends then."""


@pytest.fixture(scope="session", autouse=True)
def nothing_but_the_steps() -> Iterator[None]:
    """What surrounds a run's steps, and would take most of the time of a few, is kept short.

    Stage 2 is looked at with one draw, before and after; tests/test_front.py has all looks. A
    model card's pictures take one denoising step; the drift line is of two prompts a pool.
    """
    from textreg import front, front_watch, learning, text_shift
    from textreg.config import Concept
    from textreg.prompts import drift_pools

    def few(concept: Concept) -> dict[str, list[str]]:
        return {name: pool[:2] for name, pool in drift_pools(concept).items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front, "LOOKS", 1)
        patch.setattr(front_watch, "SAMPLES", 1)
        patch.setattr(learning, "sample", partial(learning.sample, steps=1))
        patch.setattr(text_shift, "drift_pools", few)
        yield


@pytest.fixture(autouse=True)
def ends_some_day(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("slow") is None:
        yield
        return

    def hang(number: int, frame: object) -> None:
        pytest.fail(f"not done after {SLOW_LIMIT} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SLOW_LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from random_base import write_base

    return write_base(tmp_path_factory.mktemp("base") / "tiny")


def write_pictures(folder: Path, first_seed: int) -> Path:
    """Four pictures of noise."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    for n in range(4):
        random = np.random.default_rng(first_seed + n)
        pixels = random.integers(0, 256, (48, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n:02}.png")
    return folder


@pytest.fixture(scope="session")
def cat_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "cat", 0)


@pytest.fixture(scope="session")
def dog_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "dog", 100)


@pytest.fixture
def make_run(
    tiny_base: Path, cat_pictures: Path, dog_pictures: Path, tmp_path: Path
) -> Callable[..., "Run"]:
    """A run of two concepts by its folder's name and what differs; modules may have their own."""
    from tiny_run import tiny_run

    def make(name: str, **changes: Any) -> "Run":
        return tiny_run(tiny_base, tmp_path / name, cat_pictures, dog_pictures, **changes)

    return make


@pytest.fixture(scope="session")
def backbone(tiny_base: Path) -> "Backbone":
    from textreg.backbone import load

    return load(str(tiny_base), device="cpu")


@pytest.fixture(scope="session")
def backbone64(tiny_base: Path) -> "Backbone":
    """In float64, where equal mathematics is equal to twelve digits."""
    from textreg.backbone import load

    return load(str(tiny_base), device="cpu", dtype="fp64")
