"""What the demo writes and says, without its base."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from textreg.config import Concept
from textreg.demo import measures
from textreg.demo.report import verdict
from textreg.demo.story import Story, _last_points


def rows(none: float, ours: float) -> dict[str, Any]:
    return {
        name: {
            "drift": {"epsilon": {"class": drift, "class_elsewhere": drift / 100}},
            "editability": {"score": 1.0},
        }
        for name, drift in (("none", none), ("textreg", ours))
    }


@pytest.mark.parametrize(
    ("none", "said"), [(1.3, "1.3 times"), (9.9, "9.9 times"), (12.3, "12 times")]
)
def test_a_little_less_is_not_once_less(none: float, said: str) -> None:
    assert verdict(rows(none, 1.0)).startswith(f"With TextReg the class prompt moved {said} less, ")
    assert f"in prompts that it never saw {said} less;" in verdict(rows(none, 1.0))


def test_a_line_that_a_kill_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    story: Any = Story.__new__(Story)
    story._curves, story._backbone = tmp_path / "curves.jsonl", None
    story._measures = SimpleNamespace(
        draw=lambda *_: SimpleNamespace(pictures=[]), drift=lambda _: {}, fidelity=lambda _: 0.5
    )
    adapter: Any = SimpleNamespace(prompt="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textreg.demo.story.PictureModel", lambda *_: None)
        story._measure("none", 100, adapter)
        whole = story._curves.read_text()
        story._curves.write_text(whole + json.dumps({"model": "none", "step": 200})[:-9])
        story._measure("none", 200, adapter)
    assert [point["step"] for point in _last_points(story._curves)] == [100, 200]


def test_a_noun_of_two_words_is_no_neighbour_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "brown dog" is a dog, as the judge reads it."""
    asked: list[list[str]] = []
    monkeypatch.setattr(measures.Judge, "load", lambda: SimpleNamespace(features=lambda x: x))
    monkeypatch.setattr(measures, "pixel_tensor", lambda _: None)
    monkeypatch.setattr(measures, "EpsilonDrift", lambda _, prompts, **__: asked.append(prompts))
    base: Any = None
    measures.Measures(base, Concept(images=Path("dog"), noun="brown dog"), [])
    assert "a photo of a dog" not in asked[2]
    assert "a photo of a chair" in asked[2]
    story: Any = Story.__new__(Story)
    run: Any = SimpleNamespace(concepts=[Concept(images=Path("dog"), noun="brown dog")])
    assert list(story._wanted(run, "base"))[-1][:2] == ("neighbour", "a photo of a cat")
