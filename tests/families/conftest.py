"""Each family's topology at a tiny width, random weights; written and loaded once a session."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from random_base import write_base

from family_setting import Loaded
from textreg.backbone import load

# What holds for Stable Diffusion 1 is proved at a smaller size by the tests beside this folder.
FAMILIES = (pytest.param("tiny-sd1", marks=pytest.mark.slow), "tiny-sd2", "tiny-sdxl")


@pytest.fixture(scope="session")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a size."""
    return cache(lambda size: write_base(tmp_path_factory.mktemp("bases") / size, size))


@pytest.fixture(scope="session")
def in_float64(base_of: Callable[[str], Path]) -> Loaded:
    return cache(lambda size: load(str(base_of(size)), device="cpu", dtype="fp64"))


@pytest.fixture(scope="session")
def in_float32(base_of: Callable[[str], Path]) -> Loaded:
    return cache(lambda size: load(str(base_of(size)), device="cpu"))


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param
