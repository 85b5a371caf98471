"""`evaluate` to its end on runs that edit more than keys and values, and on Stable Diffusion XL."""

from pathlib import Path
from typing import Any

import pytest
from random_base import write_base

from mean_colours import Means
from textreg.backbone import Backbone, load
from textreg.config import Images, Inversion, Tuning
from textreg.evaluate import Options, epsilon_drift, evaluate, model_pair, probe
from tiny_run import tiny_run, train

pytestmark = pytest.mark.thorough

QUESTIONS = """
neighbours: [dog]
general: [a photo of the dog]
edits: ["a {} of the photo"]
steps: 2
"""


def report_of(
    backbone: Backbone,
    base: Path,
    pictures: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    **changes: Any,
) -> dict[str, Any]:
    """Train two steps of stage 2 and evaluate; the content of report.json."""
    monkeypatch.setattr(probe, "TIMESTEPS", 2)
    monkeypatch.setattr(epsilon_drift, "_STEPS", 1)
    monkeypatch.setattr(model_pair, "load", lambda source, **_: backbone)
    run = tiny_run(base, place / "run", pictures, inversion=Inversion(steps=1), **changes)
    train(run, backbone)
    (place / "questions.yaml").write_text(QUESTIONS)
    options = Options(prompts=place / "questions.yaml", num_images=2, epsilon_prompts=1)
    found = evaluate(run.out, [Means()], options)
    page = (run.out / "report.html").read_text()
    assert found["summary"]["verdicts"]["cat"] in page
    return found


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"placement": "self"}, id="self", marks=pytest.mark.slow),
        pytest.param({"placement": "full"}, id="full"),
        pytest.param({"text_encoder_rank": 3}, id="text encoder", marks=pytest.mark.slow),
    ],
)
def test_other_edits_are_measured_like_any(
    edit: dict[str, Any],
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each moves every prompt, the empty one too."""
    tuning = Tuning(steps=2, rank=2, **edit)
    found = report_of(
        backbone, tiny_base, cat_pictures, tmp_path, monkeypatch, prior="none", tuning=tuning
    )
    (row,) = found["rows"]
    assert all(value > 0 for value in row["drift"]["epsilon"].values())
    assert row["prior"] == "none"


@pytest.mark.slow
def test_a_run_of_two_text_encoders_is_measured(
    cat_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_base(tmp_path / "base", "tiny-sdxl")
    backbone = load(str(base), device="cpu")
    found = report_of(
        backbone,
        base,
        cat_pictures,
        tmp_path,
        monkeypatch,
        images=Images(resolution=32, views=1),
        tuning=Tuning(steps=2, rank=2),
    )
    (row,) = found["rows"]
    assert row["prior"] == "textreg"
    assert all(value >= 0 for value in row["drift"]["epsilon"].values())
