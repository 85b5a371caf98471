"""docs/training.md: what it says to write in a file, and to type, is there."""

import re
import typing
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from textreg.config import Run
from textreg.parser import parser
from textreg.settings import build_run

PAGE = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")


def settings(section: Any = Run, before: str = "") -> set[str]:
    """Every setting by its dotted name."""
    found: set[str] = set()
    for name, kind in typing.get_type_hints(section).items():
        inner = settings(kind, f"{before}{name}.") if is_dataclass(kind) else set()
        found |= inner or {before + name}
    return found


def test_the_file_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "settings.yaml"
    file.write_text(block)
    flags = {"concepts": [{"images": "data/cat", "noun": "cat"}], "out": "o", "base": "b/c"}
    run = build_run(flags, file=file)
    assert (run.denoising.snr_gamma, run.optimizer.name, run.sample_every) == (5, "prodigy", 250)


def test_every_setting_and_flag_on_it_exists() -> None:
    known = settings()
    named = set(re.findall(r"`((?:[a-z]+\.)?[a-z_0-9]+)`", PAGE))
    dotted = {name for name in named if "." in name and not name.endswith(".md")}
    assert len(dotted & known) > 20
    assert dotted - known == {"samples.jsonl", "metrics.jsonl"}
    train: Any = parser()._subparsers._group_actions[0].choices["train"]  # type: ignore[union-attr]
    flags = set(re.findall(r"`(--[a-z-]+)[ `]", PAGE))
    assert len(flags) > 12
    assert flags - set(train._option_string_actions) == set()
