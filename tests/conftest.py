"""A tiny Stable Diffusion with random weights, and a folder of pictures, for every test."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
# Tensors this small gain nothing from threads, and lose much where cores are busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image
from random_base import write_base

from textreg.backbone import Backbone, load


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "tiny")


def write_pictures(folder: Path, first_seed: int) -> Path:
    """Four pictures of noise."""
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


@pytest.fixture(scope="session")
def backbone(tiny_base: Path) -> Backbone:
    return load(str(tiny_base), device="cpu")


@pytest.fixture(scope="session")
def backbone64(tiny_base: Path) -> Backbone:
    """In float64, where equal mathematics is equal to twelve digits."""
    return load(str(tiny_base), device="cpu", dtype="fp64")
