"""The whole build in small: it makes a folder that loads, and a second run trains nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from textreg.toyland import Judge, build
from textreg.toyland.scoring import load_pipeline

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_build_makes_a_base_and_goes_on_where_it_stopped(tmp_path: Path):
    first = build(tmp_path, "test")
    assert set(first) == {"samples", "renders", "kid", "vendi"}
    assert load_pipeline(tmp_path / "base")("a cat", num_inference_steps=1).images
    Judge.load(tmp_path / "judge")
    trained = (tmp_path / "work" / "denoiser.safetensors").stat().st_mtime_ns
    assert build(tmp_path, "test") == first
    assert (tmp_path / "work" / "denoiser.safetensors").stat().st_mtime_ns == trained
