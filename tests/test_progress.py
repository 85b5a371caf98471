"""The progress line shows the loss and the last drift of every pool."""

from dataclasses import replace
from pathlib import Path

import pytest

from textreg.commands.progress import TrainingProgress
from textreg.training import StepRecord
from tiny_run import tiny_run


def test_drift_of_every_pool_is_in_the_line(
    capsys: pytest.CaptureFixture[str], tiny_base: Path, cat_pictures: Path
) -> None:
    record = StepRecord(
        concept="cat",
        stage="tuning",
        step=1,
        global_step=4,
        losses={"total": 0.75},
        learning_rate=1e-3,
        drift=None,
        seconds=1.0,
    )
    shifts = {"class": 0.25, "neighbour": 0.0123, "general": 2e-5, "null": 0.0}
    progress = TrainingProgress(tiny_run(tiny_base, Path(), cat_pictures))
    lines: list[str] = []
    for drift in (None, shifts, None, {name: 2 * shift for name, shift in shifts.items()}):
        progress.show(replace(record, drift=drift))
        lines.append(progress._progress.tasks[0].fields["note"])
    assert lines == [
        "loss 0.750",
        "loss 0.750 drift 25/1.2/0.002/0",
        "loss 0.750 drift 25/1.2/0.002/0",
        "loss 0.750 drift 50/2.5/0.004/0",
    ]
    said = capsys.readouterr().err
    assert said.count("drift: % of keys and values, class/neighbour/general/null prompts") == 1
