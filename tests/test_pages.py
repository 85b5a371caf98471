"""What pages hold of benchmarks/results is what those files say: `make docs` was not forgotten."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def program(folder: str) -> ModuleType:
    """A page.py by its folder; three have that name."""
    path = ROOT / "benchmarks" / folder / "page.py"
    spec = importlib.util.spec_from_file_location(f"page_of_{folder}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_performance_and_reliability() -> None:
    speed, torture = program("speed"), program("torture")
    text = speed.PAGE.read_text()
    assert speed.filled(text, speed.blocks(RESULTS), "performance.md") == text
    text = (ROOT / "docs" / "reliability.md").read_text()
    figures = json.loads((RESULTS / "torture-cpu.json").read_text())
    assert torture.filled(text, figures) == text


@pytest.mark.thorough
def test_the_study(tmp_path: Path) -> None:
    study = program("study")
    text = study.PAGE.read_text()
    assert study.filled(text, study.blocks(RESULTS, tmp_path), "study.md") == text
