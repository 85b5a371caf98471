"""The progress line shows the loss and the last drift of every pool."""

from dataclasses import replace
from pathlib import Path

import pytest

from textreg.commands.progress import TrainingProgress
from textreg.ranks import Ranks
from textreg.training import StepRecord
from tiny_run import tiny_run

RECORD = StepRecord(
    concept="cat",
    stage="tuning",
    step=1,
    global_step=4,
    losses={"total": 0.75},
    learning_rate=1e-3,
    drift=None,
    seconds=1.0,
)


def test_the_bar_runs_over_every_wave(tiny_base: Path, tmp_path: Path) -> None:
    """Waves of 2, 2 and 1 concepts, six steps each; `b` is in quarantine after its second."""
    folders = [tmp_path / name for name in "abcde"]
    run = tiny_run(tiny_base, Path(), *folders[:3])
    more = [replace(run.concepts[0], images=f, identifier=f"<{f.name}>") for f in folders]
    run = replace(run, concepts=tuple(more))
    waves = [["a", "b"], ["c", "d"], ["e"]]
    taken = [
        (name, step)
        for wave in waves
        for step in range(1, 7)
        for name in wave
        if name != "b" or step <= 2
    ]
    for resumed in (0, 3, 12, 21):
        progress = TrainingProgress(run)
        done: list[float] = []
        for name, step in taken[resumed:]:
            progress.show(replace(RECORD, concept=name, global_step=step))
            done.append(progress._progress.tasks[0].completed)
        assert progress._progress.tasks[0].total == 30
        assert done == sorted(done)
        assert done[-1] == 30
        assert progress._progress.tasks[0].fields["note"] == "drawing the model card"


def test_the_bar_of_several_processes(tiny_base: Path, tmp_path: Path) -> None:
    """Rank 0 of two has waves one and three of four; the other is as far with two and four."""
    folders = [tmp_path / name for name in "abcd"]
    run = tiny_run(tiny_base, Path(), *folders[:1])
    more = [replace(run.concepts[0], images=f, identifier=f"<{f.name}>") for f in folders]
    run = replace(run, concepts=tuple(more))
    progress = TrainingProgress(run, Ranks(rank=0, size=2))
    done: list[float] = []
    for name in "ac":
        for step in range(1, 7):
            progress.show(replace(RECORD, concept=name, global_step=step))
            done.append(progress._progress.tasks[0].completed)
    assert done == list(range(2, 26, 2))


@pytest.mark.parametrize(("rank", "size", "told"), [(0, 2, 1), (1, 2, 0), (1, 1, 1)])
def test_a_fault_is_told_by_one_process(
    capsys: pytest.CaptureFixture[str],
    tiny_base: Path,
    cat_pictures: Path,
    rank: int,
    size: int,
    told: int,
) -> None:
    """By the first of those that divide samples; by each of those that have waves of their own."""
    progress = TrainingProgress(
        tiny_run(tiny_base, Path(), cat_pictures), Ranks(rank=rank, size=size)
    )
    progress.show(replace(RECORD, fault="cat: the loss is not finite"))
    assert capsys.readouterr().err.count("is not finite") == told


def test_drift_of_every_pool_is_in_the_line(
    capsys: pytest.CaptureFixture[str], tiny_base: Path, cat_pictures: Path
) -> None:
    shifts = {"class": 0.25, "neighbour": 0.0123, "general": 2e-5, "null": 0.0}
    progress = TrainingProgress(tiny_run(tiny_base, Path(), cat_pictures))
    lines: list[str] = []
    for drift in (None, shifts, None, {name: 2 * shift for name, shift in shifts.items()}):
        progress.show(replace(RECORD, drift=drift))
        lines.append(progress._progress.tasks[0].fields["note"])
    assert lines == [
        "loss 0.750",
        "loss 0.750 drift 25/1.2/0.002/0",
        "loss 0.750 drift 25/1.2/0.002/0",
        "loss 0.750 drift 50/2.5/0.004/0",
    ]
    said = capsys.readouterr().err
    assert said.count("drift: % of keys and values, class/neighbour/general/null prompts") == 1
