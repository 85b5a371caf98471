"""A run is used from any folder: relative paths lead to where its command was typed."""

import shutil
from pathlib import Path

import pytest
import yaml

from textreg.backbone import Backbone
from textreg.commands.sample import run_base
from textreg.config import Inversion, Tuning
from textreg.evaluate.subjects import subjects_of
from tiny_run import tiny_run, train


@pytest.fixture
def project(
    backbone: Backbone, cat_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with a base, pictures and a run, made with relative paths; one is elsewhere."""
    place = tmp_path / "project"
    shutil.copytree(cat_pictures, place / "data" / "cat")
    shutil.copytree(backbone.files.place, place / "models" / "tiny")
    monkeypatch.chdir(place)
    few = {"inversion": Inversion(steps=1), "tuning": Tuning(steps=1, rank=2)}
    train(tiny_run(Path("models/tiny"), Path("runs/cat"), Path("data/cat"), **few), backbone)
    monkeypatch.chdir(tmp_path)
    return place


def test_base_and_photos_are_found_from_another_folder(project: Path) -> None:
    run = project / "runs" / "cat"
    assert run_base(run)["source"] == str(project / "models" / "tiny")
    (subject,) = subjects_of(run)
    assert [p.path.parent for p in subject.photos] == [project / "data" / "cat"] * 4
    # No place of this machine is in the record.
    assert str(project) not in (run / "run.yaml").read_text()


def test_a_base_of_one_file_is_found_as_well(project: Path) -> None:
    path = project / "runs" / "cat" / "run.yaml"
    record = yaml.safe_load(path.read_text())
    record["run"]["base"] = "models/v1-5.safetensors"
    path.write_text(yaml.safe_dump(record))
    assert run_base(path.parent)["source"] == "models/v1-5.safetensors"
    (project / "models" / "v1-5.safetensors").touch()
    assert run_base(path.parent)["source"] == str(project / "models" / "v1-5.safetensors")


@pytest.mark.parametrize("place", [".", "best"])
def test_a_run_is_found_from_within(
    project: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from a concept's or a state's own folder, whose name "." does not say."""
    folder = project / "runs" / "cat" / place
    folder.mkdir(exist_ok=True)
    for name in ("learned_embeds.safetensors", "pytorch_lora_weights.safetensors"):
        if place == "best":
            shutil.copy(folder.parent / name, folder)
    monkeypatch.chdir(folder)
    assert run_base(Path())["source"] == str(project / "models" / "tiny")
    (subject,) = subjects_of(Path())
    assert subject.run.out.resolve() == project / "runs" / "cat"


def test_the_whole_tree_may_move(project: Path, tmp_path: Path) -> None:
    moved = project.rename(tmp_path / "elsewhere")
    assert run_base(moved / "runs" / "cat")["source"] == str(moved / "models" / "tiny")


def test_the_run_alone_may_move_to_where_its_paths_lead(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = (project / "runs" / "cat").rename(tmp_path / "cat")
    monkeypatch.chdir(project)
    assert run_base(moved)["source"] == "models/tiny"


def test_a_record_of_before_is_read_as_it_was_typed(project: Path) -> None:
    path = project / "runs" / "cat" / "run.yaml"
    record = yaml.safe_load(path.read_text())
    del record["typed_in"]
    path.write_text(yaml.safe_dump(record))
    assert run_base(path.parent)["source"] == "models/tiny"
