"""Stop anywhere, go on exactly; one run a folder (FAULTS 1, 7, 10, 11)."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from textreg import training
from textreg.backbone import Backbone
from textreg.config import Concept, Denoising, Images, Inversion, Mask, Run, Tuning
from textreg.errors import UserError
from textreg.run_folder import RunFolder
from textreg.stages import TuningStage
from textreg.text_shift import TextShift
from textreg.trainer import trainings
from tiny_run import results, tiny_run, train, train_some

MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tiny_base: Path, tmp_path: Path, cat_pictures: Path, dog_pictures: Path) -> MakeRun:
    """Two concepts, 3 + 3 steps, a checkpoint every second one."""

    def make(name: str, **changes: Any) -> Run:
        return tiny_run(
            tiny_base, tmp_path / name, cat_pictures, dog_pictures, **({"save_steps": 2} | changes)
        )

    return make


@pytest.fixture(scope="module")
def straight(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What the run leaves that was never stopped."""
    out = tmp_path_factory.mktemp("straight") / "run"
    train(tiny_run(tiny_base, out, cat_pictures, dog_pictures, save_steps=2), backbone)
    left = results(out)
    assert [(line["global_step"], line["concept"]) for line in left["metrics"]] == [
        (step, concept) for step in range(1, 7) for concept in ("cat", "dog")
    ]
    # Two files of each concept, two of its best state, and the metrics.
    assert len(left) == 9
    return left


@pytest.fixture(scope="module")
def begun(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of that run after four of its six steps."""
    out = tmp_path_factory.mktemp("begun") / "run"
    train_some(tiny_run(tiny_base, out, cat_pictures, dog_pictures, save_steps=2), backbone, 4)
    return out


def contents(folder: Path) -> dict[Path, bytes]:
    """The bytes of every file but the lock."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "stop_after", [3, 4, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 5, 6))]
)
def test_stopped_and_continued_is_never_stopped(
    backbone: Backbone, make_run: MakeRun, straight: dict[str, Any], stop_after: int
) -> None:
    """In both stages, at a checkpoint and between two, at the change of stages, at the end."""
    run = make_run("run")
    train_some(run, backbone, stop_after)
    assert len(results(run.out)) == 1, "no adapter before the end"
    taken = len(list(trainings(run, backbone)))
    assert taken == 6 - stop_after
    assert results(run.out) == straight


@pytest.mark.thorough
def test_a_run_that_was_moved_goes_on_in_its_new_place(
    backbone: Backbone, make_run: MakeRun, straight: dict[str, Any]
) -> None:
    train_some(make_run("here"), backbone, 4)
    moved = make_run("there")
    make_run("here").out.rename(moved.out)
    assert len(list(trainings(moved, backbone))) == 2
    assert results(moved.out) == straight


def test_stopped_at_every_step(
    backbone: Backbone, make_run: MakeRun, straight: dict[str, Any]
) -> None:
    run = make_run("run")
    for _ in range(6):
        train_some(run, backbone, 1)
    assert list(trainings(run, backbone)) == []
    assert results(run.out) == straight


@pytest.mark.thorough
def test_another_rhythm_of_checkpoints_and_another_folder_change_nothing(
    backbone: Backbone, make_run: MakeRun, straight: dict[str, Any]
) -> None:
    run = make_run("other", save_steps=100)
    train_some(run, backbone, 4)
    train(replace(run, save_steps=1), backbone)
    assert results(run.out) == straight


@pytest.mark.parametrize("moment", ["second stage", "within a step", "after a step"])
@pytest.mark.parametrize(
    "interrupt", [KeyboardInterrupt, pytest.param(RuntimeError, marks=pytest.mark.slow)]
)
def test_an_interrupt_leaves_no_half_state(
    backbone: Backbone,
    make_run: MakeRun,
    straight: dict[str, Any],
    begun: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    interrupt: type[BaseException],
) -> None:
    def strike(*given: Any, **options: Any) -> None:
        raise interrupt

    run = make_run("run", inversion=Inversion(steps=3), tuning=Tuning(steps=3, rank=2))
    if moment == "second stage":
        monkeypatch.setattr(TuningStage, "__init__", strike)
    elif moment == "within a step":
        shutil.copytree(begun, run.out)
        monkeypatch.setattr(training.Training, "_clip", strike)
    else:
        shutil.copytree(begun, run.out)
        monkeypatch.setattr(training, "DRIFT_EVERY", 1)
        monkeypatch.setattr(TextShift, "measure", strike)
    with pytest.raises(interrupt):
        train(run, backbone)
    monkeypatch.undo()
    train(run, backbone)
    assert results(run.out) == straight


@pytest.mark.parametrize(
    "damage", ["flip", *(pytest.param(d, marks=pytest.mark.slow) for d in ("cut", "empty"))]
)
def test_a_damaged_newest_checkpoint_costs_only_its_steps(
    backbone: Backbone,
    make_run: MakeRun,
    straight: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    run = make_run("run", save_steps=1)
    train_some(run, backbone, 5)
    newest = max((run.out / "checkpoints").iterdir())
    data = bytearray(newest.read_bytes())
    if damage == "flip":
        data[-100] ^= 4
    newest.write_bytes({"flip": data, "cut": data[:-20], "empty": b""}[damage])
    assert len(list(trainings(run, backbone))) == 2
    assert str(newest) in "".join(capsys.readouterr())
    assert results(run.out) == straight


def test_a_finished_run_takes_no_step_and_changes_no_byte(
    backbone: Backbone, make_run: MakeRun
) -> None:
    run = make_run("run")
    train(run, backbone)
    before = contents(run.out)
    assert len(before) == 15
    assert list(trainings(run, backbone)) == []
    assert contents(run.out) == before


@pytest.mark.thorough
def test_a_line_cut_off_in_the_metrics_is_written_again(
    backbone: Backbone, make_run: MakeRun, straight: dict[str, Any]
) -> None:
    run = make_run("run")
    train_some(run, backbone, 3)
    with (run.out / "metrics.jsonl").open("a") as file:
        file.write('{"concept": "cat", "stage": "tuning", "step": 1, "global_step": 4}\n{"conc')
    train(run, backbone)
    assert results(run.out) == straight


CHANGES = {
    "seed": {"seed": 1},
    "prior": {"prior": "none"},
    "dtype": {"dtype": "fp64"},
    "tuning.rank": {"tuning": Tuning(steps=3, rank=3)},
    "tuning.steps": {"tuning": Tuning(steps=4, rank=2)},
    "inversion.steps": {"inversion": Inversion(steps=4)},
    "mask.ratio": {"mask": Mask(ratio=0.5)},
    "images.views": {"images": Images(resolution=16, views=3)},
    "images.masks": {"images": Images(resolution=16, views=2, masks="alpha")},
    "denoising.snr_gamma": {"denoising": Denoising(snr_gamma=5.0)},
}


@pytest.mark.parametrize("field", CHANGES)
def test_another_run_in_the_folder_is_refused_by_field(
    backbone: Backbone, make_run: MakeRun, begun: Path, field: str
) -> None:
    run = make_run("run")
    shutil.copytree(begun, run.out)
    before = contents(run.out)
    with pytest.raises(UserError, match=rf"holds another run: {field} is \S+ there, \S+ here\."):
        next(trainings(make_run("run", **CHANGES[field]), backbone))
    assert contents(run.out) == before


def test_a_setting_that_is_left_out_again_is_another_run(
    backbone: Backbone, make_run: MakeRun
) -> None:
    """Of a section that is at its defaults, and so not written, in the run that is asked for."""
    train_some(make_run("run", denoising=Denoising(snr_gamma=5.0)), backbone, 1)
    with pytest.raises(UserError, match=r"denoising\.snr_gamma is 5\.0 there, None here"):
        next(trainings(make_run("run"), backbone))


def test_two_differing_fields_are_both_named(backbone: Backbone, make_run: MakeRun) -> None:
    train_some(make_run("run"), backbone, 1)
    with pytest.raises(UserError) as refusal:
        next(trainings(make_run("run", seed=4, prior="none"), backbone))
    assert "prior is 'textreg' there, 'none' here; seed is 0 there, 4 here" in str(refusal.value)


def test_other_words_and_other_pictures_are_another_run(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cat"
    folder.mkdir()
    for path in cat_pictures.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    run = tiny_run(tiny_base, tmp_path / "run", cat_pictures)
    train_some(run, backbone, 1)
    elsewhere = replace(run, concepts=(replace(run.concepts[0], images=folder),))
    train_some(elsewhere, backbone, 1)  # the same pictures from another place: the same run
    other_word = replace(run, concepts=(Concept(images=folder, noun="cat", identifier="<x1>"),))
    with pytest.raises(UserError, match=r"concepts\.0\.identifier is '<krk1>' there"):
        next(trainings(other_word, backbone))
    Image.new("RGB", (40, 40), "red").save(folder / "00.png")
    with pytest.raises(UserError, match="the pictures have changed since"):
        next(trainings(elsewhere, backbone))


def test_checkpoints_of_another_run_are_never_taken_up(
    backbone: Backbone, make_run: MakeRun
) -> None:
    """Even where run.yaml was edited to fit."""
    run, other = make_run("run"), make_run("run", seed=1)
    train_some(run, backbone, 2)
    record = yaml.safe_load((run.out / "run.yaml").read_text())
    record["run"]["seed"] = 1
    (run.out / "run.yaml").write_text(yaml.safe_dump(record))
    with pytest.raises(UserError, match="checkpoints: belongs to another run"):
        next(trainings(other, backbone))


def test_a_folder_is_one_processes_at_a_time(backbone: Backbone, make_run: MakeRun) -> None:
    run = make_run("run")
    going = trainings(run, backbone)
    next(going)
    with pytest.raises(UserError, match=f"in use by process {os.getpid()} on "):
        next(trainings(run, backbone))
    going.close()  # type: ignore[attr-defined]
    train_some(run, backbone, 1)


def test_a_folder_that_is_no_runs_is_left_alone(backbone: Backbone, make_run: MakeRun) -> None:
    run = make_run("run")
    run.out.mkdir()
    (run.out / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"not empty \(thesis\.txt\)"):
        next(trainings(run, backbone))
    assert [path.name for path in run.out.iterdir()] == ["thesis.txt"]


def test_killed_before_its_first_file_a_run_starts_again(
    backbone: Backbone, make_run: MakeRun
) -> None:
    run = make_run("run")
    run.out.mkdir()
    (run.out / ".lock").write_text("process 1\n")
    (run.out / ".run.yaml.partial").write_text("run:")
    train_some(run, backbone, 1)


def test_a_folder_that_cannot_be_made_is_refused(backbone: Backbone, make_run: MakeRun) -> None:
    run = make_run("file/run")
    run.out.parent.write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        next(trainings(run, backbone))


def test_finished_means_adapter_and_model_card_are_there(
    backbone: Backbone, make_run: MakeRun
) -> None:
    run = make_run("run")
    train(run, backbone)
    assert not RunFolder(run).finished
    for name in ("cat", "dog"):
        (run.out / name / "README.md").write_text("card")
    assert RunFolder(run).finished
    assert not RunFolder(make_run("run", seed=1)).finished
    for name in ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors"):
        file = run.out / "dog" / name
        before = file.read_bytes()
        file.unlink()
        assert not RunFolder(run).finished
        # The same run again takes no step and brings it back.
        assert [records for _, records in trainings(run, backbone)] == []
        assert file.read_bytes() == before
        assert RunFolder(run).finished


def test_environment_names_no_machine(backbone: Backbone, make_run: MakeRun) -> None:
    run = make_run("run")
    train_some(run, backbone, 1)
    environment = json.loads((run.out / "environment.json").read_text())
    made_with = {"python", "packages", "platform", "cores", "threads", "gpu"}
    assert set(environment) == made_with | {"batch_concepts", "speed"}
    assert {"textreg", "torch", "diffusers", "transformers"} <= set(environment["packages"])


KILLED = """
import sys, torch
from pathlib import Path
from textreg import encoded_views
from textreg.config import Concept, Images, Inversion, Run, Tuning
from textreg.trainer import steps

encoded_views.SECONDS = 0.0  # each view has its file at once, as where encoding is slow
base, pictures, out = sys.argv[1:]
run = Run(
    concepts=(Concept(images=Path(pictures), noun="cat"),), base=base, out=Path(out),
    images=Images(resolution=16, views=2), inversion=Inversion(steps=100),
    tuning=Tuning(steps=500, rank=2), save_steps=1,
)
for record in steps(run):
    print(record.global_step, flush=True)
"""


def start(base: Path, pictures: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", KILLED, str(base), str(pictures), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_with_the_same_bytes(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    done = start(tiny_base, cat_pictures, tmp_path / "straight")
    assert done.communicate(timeout=300) is not None
    assert done.returncode == 0
    draw = random.Random(0)
    steps_seen: list[int] = []
    for number in range(100):
        # A slow machine needs more of them to come so far.
        if number >= 20 and max(steps_seen) > 100:
            break
        process = start(tiny_base, cat_pictures, tmp_path / "killed")
        assert process.stdout is not None
        for _ in range(draw.randint(0, 4)):
            process.stdout.readline()
        time.sleep(draw.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        steps_seen += [int(line) for line in process.communicate(timeout=60)[0].split()]
        assert process.returncode == -signal.SIGKILL
    last = start(tiny_base, cat_pictures, tmp_path / "killed")
    last.communicate(timeout=300)
    assert last.returncode == 0
    assert max(steps_seen) > 100, "some kills fell into the second stage"
    assert results(tmp_path / "killed") == results(tmp_path / "straight")
