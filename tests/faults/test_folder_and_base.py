"""Faults 6, 9, 10, 35: what a run's folder may hold, and what it remembers of its base."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from textreg import cli
from textreg.backbone import Backbone, load
from textreg.base_digest import base_digest
from textreg.config import Run, plain
from textreg.errors import UserError
from textreg.run_folder import RunFolder
from textreg.trainer import trainings
from tiny_run import results, tiny_run, train, train_some

pytestmark = pytest.mark.thorough


@pytest.fixture
def run(tiny_base: Path, tmp_path: Path, cat_pictures: Path) -> Run:
    return tiny_run(tiny_base, tmp_path / "run", cat_pictures)


def test_a_base_that_changed_under_its_path_is_refused(
    backbone: Backbone, run: Run, tiny_base: Path, tmp_path: Path
) -> None:
    """One weight of one tensor; brought back, the run goes on."""
    copy = shutil.copytree(tiny_base, tmp_path / "base")
    run = replace(run, base=str(copy))
    train_some(run, load(str(copy), device="cpu"), 2)
    weights = next((copy / "unet").glob("*.safetensors"))
    sound = weights.read_bytes()
    tensors = load_file(weights)
    tensors[max(tensors)].view(-1)[-1] += 1
    save_file(tensors, weights)
    with pytest.raises(UserError, match=r"the base .* has changed since this run began"):
        next(trainings(run, load(str(copy), device="cpu")))
    weights.write_bytes(sound)
    assert len(list(trainings(run, load(str(copy), device="cpu")))) == 4


def test_a_large_file_is_known_by_the_beginning_of_each_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textreg.base_digest._WHOLE", 0)
    tensors = {name: torch.full((5000,), 1.0) for name in "abc"}
    file = tmp_path / "model.safetensors"
    save_file(tensors, file)
    before = base_digest(file)
    assert base_digest(file) == before
    seen = {before}
    for name in "abc":
        save_file(tensors | {name: tensors[name] + 1}, file)
        seen.add(base_digest(file))
    save_file(tensors | {"a": tensors["a"].half()}, file)
    seen.add(base_digest(file))
    assert len(seen) == 5


def test_the_digest_is_of_what_is_loaded_wherever_it_lies(tiny_base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_base, tmp_path / "elsewhere")
    assert base_digest(copy) == base_digest(tiny_base)
    (copy / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"another variant")
    (copy / "README.md").write_text("about it")
    assert base_digest(copy) == base_digest(tiny_base)
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_end": 0.013}))
    assert base_digest(copy) != base_digest(tiny_base)


def test_a_base_of_half_precision_alone_is_known_by_its_weights(tmp_path: Path) -> None:
    part = tmp_path / "unet"
    part.mkdir()
    seen: set[str] = set()
    for number in (1.0, 2.0):
        file = part / "diffusion_pytorch_model.fp16.safetensors"
        save_file({"w": torch.full((3,), number).half()}, file)
        seen.add(base_digest(tmp_path))
    assert len(seen) == 2


DAMAGE = {
    "bytes that are no text": b"\xff\xfe\x00",
    "a list": b"[1, 2]",
    "a number": b"7",
    "null": b"null",
    "no step": b'{"concept": "cat"}',
    "a step in words": b'{"global_step": "three"}',
    "nested": b"[" * 100_000,
}


@pytest.fixture(scope="module")
def straight(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of the same run, never stopped."""
    out = tmp_path_factory.mktemp("straight") / "run"
    train(tiny_run(tiny_base, out, cat_pictures), backbone)
    return out


@pytest.fixture(scope="module")
def half_way(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """After five of its six steps."""
    out = tmp_path_factory.mktemp("half-way") / "run"
    train_some(tiny_run(tiny_base, out, cat_pictures), backbone, 5)
    return out


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_line_of_the_metrics_is_told_and_left_out(
    backbone: Backbone,
    run: Run,
    straight: Path,
    half_way: Path,
    what: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(half_way, run.out)
    metrics = run.out / "metrics.jsonl"
    first, *others = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(first + DAMAGE[what] + b"\n" + b"".join(others))
    train(run, backbone)
    assert f"{metrics}: line 2 is damaged (1 in all)" in capsys.readouterr().err
    assert results(run.out) == results(straight)


@pytest.mark.parametrize(
    "name",
    [
        *("checkpoints", "metrics.jsonl", "learned_embeds.safetensors"),
        *("checkpoints/views", "checkpoints/views/0-ab.safetensors", "class_images/cat"),
    ],
)
def test_a_link_out_of_the_folder_is_refused_before_anything_is_written(
    backbone: Backbone, run: Run, half_way: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(half_way, run.out)
    outside = tmp_path / "outside"
    outside.mkdir()
    place = run.out / name
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        place.rename(outside / "kept")
    place.symlink_to(outside / "target")
    before = sorted(outside.rglob("*"))
    with pytest.raises(UserError, match="is a link out of the run's folder"):
        next(trainings(run, backbone))
    assert sorted(outside.rglob("*")) == before


def test_a_pipe_in_the_folder_never_blocks(backbone: Backbone, run: Run, half_way: Path) -> None:
    shutil.copytree(half_way, run.out)
    (run.out / "metrics.jsonl").unlink()
    os.mkfifo(run.out / "metrics.jsonl")
    with pytest.raises(UserError, match="is a pipe or a device"):
        next(trainings(run, backbone))


def test_the_folder_is_held_while_cards_are_written(
    backbone: Backbone, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textreg import learning

    refusals: list[str] = []

    def second(*given: object) -> None:
        with pytest.raises(UserError, match="in use by process") as refusal:
            learning.write_cards(run, backbone)
        refusals.append(str(refusal.value))

    monkeypatch.setattr(learning, "_finish", second)
    learning.learn(run, backbone=backbone)
    assert len(refusals) == 1
    assert not RunFolder(run).finished


def test_a_resume_where_nothing_has_begun_is_an_error(
    backbone: Backbone,
    run: Run,
    cat_pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fault 12: never a silent fresh start; and what has begun goes on."""
    monkeypatch.setattr("textreg.trainer.load", lambda *_, **__: backbone)
    config = run.out.parent / "settings.yaml"
    config.write_text(yaml.safe_dump(plain(run) | {"concepts": [], "card_pictures": 0}))
    words = ["train", str(cat_pictures), "--noun", "cat", "--config", str(config)]
    words += ["--identifier", run.concepts[0].identifier, "--out", str(run.out)]
    assert cli.main([*words, "--resume"]) == 2
    assert f"--resume: no run has begun in {run.out}" in capsys.readouterr().err
    assert not run.out.exists()
    train_some(run, backbone, 2)
    assert cli.main([*words, "--resume"]) == 0
    assert cli.main([*words, "--resume"]) == 0, "finished: nothing to do"


@pytest.mark.parametrize("number", [2, 0, "\x1b[2J", None])
def test_a_folder_of_another_format_is_refused(
    backbone: Backbone, run: Run, half_way: Path, number: object
) -> None:
    """Fault 10: what another version began, older or newer."""
    shutil.copytree(half_way, run.out)
    path = run.out / "run.yaml"
    record = yaml.safe_load(path.read_text())
    assert record["format"] == 1
    path.write_text(yaml.safe_dump(record | {"format": number}))
    with pytest.raises(UserError, match=r"is of format .* knows 1: take the version") as refusal:
        next(trainings(run, backbone))
    assert str(refusal.value).isprintable()
    del record["format"]
    path.write_text(yaml.safe_dump(record))
    assert len(list(trainings(run, backbone))) == 1, "of before there were formats"


def test_other_versions_of_packages_are_told(
    backbone: Backbone, run: Run, half_way: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(half_way, run.out)
    path = run.out / "environment.json"
    record = json.loads(path.read_text())
    now = record["packages"]["torch"]
    record["packages"]["torch"] = "1.0"
    path.write_text(json.dumps(record))
    assert "versions" not in capsys.readouterr().err
    assert len(list(trainings(run, backbone))) == 1
    assert f"other versions (torch 1.0 there, {now} here)" in capsys.readouterr().err
