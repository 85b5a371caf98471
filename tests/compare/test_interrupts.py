"""Ctrl-C while a comparison's class pictures are drawn."""

import argparse
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from textreg.commands.compare import _compare
from textreg.compare import class_folders, comparison
from textreg.compare.cells import plan_cells
from textreg.compare.variants import variants_of
from textreg.interrupt import stop_flag


@pytest.mark.parametrize("comes", ["while drawing", "in the step before"])
def test_a_signal_ends_drawing_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes: str
) -> None:
    """After a step, which a signal would let end first."""
    reached: list[str] = []

    def compare(asked: Any, extractors: Any, options: Any, watch: comparison.Watch) -> None:
        watch.step(SimpleNamespace(out=tmp_path / "cells", total_steps=2), 1)  # type: ignore[arg-type]
        if comes == "in the step before":
            os.kill(os.getpid(), signal.SIGINT)
        reached.append("step")
        watch.drawing(tmp_path / "class_pictures")
        reached.append("drawing")
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("drawn")

    monkeypatch.setattr(comparison, "compare", compare)
    names = ("features", "device", "seeds", "equal", "preset", "config", "num_images", "prompts")
    names += ("epsilon_prompts",)
    arguments = argparse.Namespace(**dict.fromkeys(names), out=tmp_path)
    with stop_flag() as stop, pytest.raises(KeyboardInterrupt):
        _compare(arguments, {}, (), stop)
    assert reached == (["step"] if comes == "in the step before" else ["step", "drawing"])


def test_each_group_is_told(
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The folder before the first group and after each, a line on stderr after each."""
    flags = {"concepts": [{"images": cat_pictures, "noun": "cat"}], "base": str(tiny_base)}
    none, cell = plan_cells(flags, variants_of("none,class-images"), 1, tmp_path)
    told: list[Path | str] = []

    def draw(*_: Any) -> Any:
        for line in ("drew 4 of 8", "drew 8 of 8"):
            told.append(line)
            yield line

    monkeypatch.setattr(class_folders, "draw", draw)
    backbone: Any = SimpleNamespace(files=SimpleNamespace(place=tiny_base))
    for run in (none.run, cell.run):
        class_folders.draw_class_pictures(run, backbone, tmp_path, told.append)
    folder = cell.run.class_images.folder
    assert told == [folder, "drew 4 of 8", folder, "drew 8 of 8", folder]
    assert capsys.readouterr().err == "textreg: drew 4 of 8\ntextreg: drew 8 of 8\n"
