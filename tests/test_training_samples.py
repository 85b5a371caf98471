"""Samples while a run trains: they change nothing, and none is missing or there twice."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from test_track import FakeTensorBoard, FakeWandB
from textreg import trainer, training_samples
from textreg.backbone import Backbone
from textreg.cli import main
from textreg.config import Run, Tuning
from textreg.errors import UserError
from textreg.learning import learn
from textreg.step_record import StepRecord
from textreg.track import tracker
from textreg.training_samples import StepPicture
from tiny_run import results, tiny_run

pytestmark = pytest.mark.thorough

PROMPTS = ("a photo of a [trigger]", "a cat")


@pytest.fixture(scope="module", autouse=True)
def two_steps() -> Iterator[None]:
    """Of denoising are enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_samples, "sample", partial(training_samples.sample, steps=2))
        yield


@pytest.fixture(scope="module")
def straight(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
    two_steps: None,
) -> Run:
    """3 + 4 steps, samples after 2, 4 and 6; never stopped."""
    run = tiny_run(
        tiny_base,
        tmp_path_factory.mktemp("samples") / "straight",
        cat_pictures,
        dog_pictures,
        tuning=Tuning(steps=4, rank=2),
        sample_every=2,
        sample_prompts=PROMPTS,
        card_pictures=0,
        save_steps=4,
    )
    learn(run, backbone=backbone)
    return run


@pytest.fixture
def run(straight: Run, tmp_path: Path) -> Run:
    """The same, not begun."""
    return replace(straight, out=tmp_path / "run")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every folder that was drawn into."""
    folders: list[Path] = []
    plain = training_samples.TrainingSamples._draw

    def watched(self: object, model: object, prompts: object, folder: Path) -> None:
        folders.append(folder)
        plain(self, model, prompts, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(training_samples.TrainingSamples, "_draw", watched)
    return folders


def samples(run: Run) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.out)): path.read_bytes()
        for path in sorted(run.out.glob("*/samples/*/*"))
    }


def stop_at(step: int) -> object:
    def on_step(record: StepRecord) -> bool:
        return record.global_step == step

    return on_step


def test_they_change_nothing_and_show_the_concept_of_their_step(
    run: Run, backbone: Backbone, drawn: list[Path]
) -> None:
    without = replace(run, out=run.out.with_name("without"), sample_every=0)
    assert run.digest == without.digest
    pictures: list[StepPicture] = []
    learn(run, backbone=backbone, on_sample=pictures.append)
    learn(without, backbone=backbone)
    assert results(run.out) == results(without.out)
    assert not (without.out / "cat" / "samples").exists()
    names = [
        f"{concept}/samples/{step:06}/{name}"
        for concept in ("cat", "dog")
        for step in (2, 4, 6)
        for name in ("00.png", "01.png", "samples.jsonl")
    ]
    assert sorted(samples(run)) == names
    assert len(drawn) == len(set(drawn)) == 6
    said = [(p.global_step, p.concept, p.prompt) for p in pictures]
    assert said == [
        (step, concept, prompt)
        for step in (2, 4, 6)
        for concept, word in (("cat", "<krk1> cat"), ("dog", "<vox2> dog"))
        for prompt in (f"a photo of a {word}", "a cat")
    ]
    lines = (run.out / "dog/samples/000004/samples.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"image": "00.png", "prompt": "a photo of a <vox2> dog", "seed": 0},
        {"image": "01.png", "prompt": "a cat", "seed": 1},
    ]
    found = samples(run)
    assert found["cat/samples/000002/00.png"] != found["cat/samples/000006/00.png"]
    # The edit is zero in stage 1, and the second prompt has no new word.
    assert found["cat/samples/000002/01.png"] == found["dog/samples/000002/01.png"]
    with Image.open(run.out / "cat/samples/000006/00.png") as image:
        assert image.size == (16, 16)


@pytest.mark.parametrize("stop", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_a_resumed_run_has_the_same_each_once(
    run: Run, straight: Run, backbone: Backbone, drawn: list[Path], stop: int
) -> None:
    """Stopped before its samples are drawn, as by a kill after the checkpoint."""
    assert learn(run, backbone=backbone, on_step=stop_at(stop)) is None  # type: ignore[arg-type]
    before = {p: p.stat().st_mtime_ns for p in run.out.glob("*/samples/*/*")}
    pictures: list[StepPicture] = []
    learn(run, backbone=backbone, on_sample=pictures.append)
    assert samples(run) == samples(straight)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(drawn) == len(set(drawn)) == 6
    later = [step for step in (2, 4, 6) if step >= stop]
    assert [p.global_step for p in pictures[::4]] == later
    assert len(pictures) == 4 * len(later)


def test_a_step_that_is_taken_again_is_not_drawn_again(
    run: Run, backbone: Backbone, drawn: list[Path]
) -> None:
    """Its newest checkpoint lost, it goes on from before samples that are there, and half there."""
    run = replace(run, concepts=run.concepts[:1])
    learn(run, backbone=backbone, on_step=stop_at(7))  # type: ignore[arg-type]
    whole = {p: p.read_bytes() for p in run.out.glob("samples/*/*")}
    newest = sorted((run.out / "checkpoints").glob("*.safetensors"))[-1]
    newest.unlink()
    (run.out / "samples/000006/samples.jsonl").unlink()
    drawn.clear()
    pictures: list[StepPicture] = []
    learn(run, backbone=backbone, on_sample=pictures.append)
    assert [folder.name for folder in drawn] == ["000006"]
    assert {p: p.read_bytes() for p in run.out.glob("samples/*/*")} == whole
    # A tracker forgets the steps that are taken again, so it is told of their samples again.
    assert [p.global_step for p in pictures] == [6, 6]


def test_waves_draw_each_their_own(
    run: Run, straight: Run, backbone: Backbone, drawn: list[Path]
) -> None:
    waves = replace(run, batch_concepts=1)
    learn(waves, backbone=backbone)
    assert sorted(samples(waves)) == sorted(samples(straight))
    assert len(drawn) == 6


def test_trackers_get_them(
    run: Run, backbone: Backbone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    board, wandb = FakeTensorBoard(), FakeWandB()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    picture = StepPicture(
        concept="cat", global_step=4, prompt="a cat", image=Image.new("RGB", (3, 2), "red")
    )
    for name in ("tensorboard", "wandb", None):
        with tracker(name, run) as log:
            log.picture(picture)
    # Before any record: step 4 was logged before the run went on, and must not be forgotten.
    assert board.calls == [
        ("open", str(run.out / "tensorboard" / "cat"), 5),
        ("cat/samples/a cat", (2, 3, 3), 4, "HWC"),
        "close",
    ]
    assert wandb.calls == [{"cat/samples/a cat": ((3, 2), "a cat"), "global_step": 4}, "finish"]


def test_the_shell_draws_the_cards_prompts(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path, drawn: list[Path]
) -> None:
    out = tmp_path / "run"
    words = ["train", str(cat_pictures), "--base", str(tiny_base), "--out", str(out)]
    words += ["--resolution", "16", "--inversion-steps", "1", "--tuning-steps", "1", "--rank", "2"]
    assert main([*words, "--sample-every", "2"]) == 0
    assert [folder.relative_to(out).as_posix() for folder in drawn] == ["samples/000002"]
    lines = (out / "samples/000002/samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == [
        "a photo of a <krk1> cat",
        "a <krk1> cat in the snow",
        "a <krk1> cat on the beach",
        "a photo of a cat",
    ]


def test_a_prompt_that_hides_the_word_is_refused_before_the_first_step(
    run: Run, backbone: Backbone
) -> None:
    long = replace(run, sample_prompts=("very " * 90 + "[trigger]",))
    with pytest.raises(UserError, match="<krk1>"):
        learn(long, backbone=backbone)
    assert not (run.out / "metrics.jsonl").exists()


def test_what_cannot_be_saved_at_a_stop_is_an_error(
    run: Run, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a traceback of a generator that is thrown away."""

    def full(*_: object) -> None:
        raise UserError("checkpoints: cannot be written (No space left on device)")

    monkeypatch.setattr(trainer, "save_checkpoint", full)
    with pytest.raises(UserError, match="No space left"):
        learn(run, backbone=backbone, on_step=stop_at(1))  # type: ignore[arg-type]
