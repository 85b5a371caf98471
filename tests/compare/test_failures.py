"""A concept in quarantine stops no other, is not trained again, and leaves the comparison."""

import argparse
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from textreg.backbone import Backbone
from textreg.commands import compare as command
from textreg.compare.cell_training import train_cells
from textreg.compare.cells import Cell, plan_cells
from textreg.compare.failures import (
    compared,
    done,
    failure_of,
    failures,
    not_compared,
    record_failure,
)
from textreg.compare.variants import variants_of
from textreg.errors import QuarantineError, UserError
from textreg.run_folder import RunFolder
from textreg.training import Training

BAD = "b"


@pytest.fixture
def plan(tiny_base: Path, cat_pictures: Path, tmp_path: Path) -> Any:
    for name in "abc":
        shutil.copytree(cat_pictures, tmp_path / name)
    flags = {
        "base": str(tiny_base),
        "images.resolution": 32,
        "images.views": 2,
        "inversion.steps": 2,
        "tuning.steps": 2,
        "tuning.rank": 2,
        "save_steps": 1,
    }

    def planned(names: str, seeds: int) -> list[Cell]:
        concepts = [{"images": tmp_path / name, "noun": "cat"} for name in names]
        given = flags | {"concepts": concepts}
        return plan_cells(given, variants_of("none,gated"), seeds, tmp_path / "out")

    return planned


def fail(cell: Cell) -> None:
    cell.run.out.mkdir(parents=True)
    record_failure(cell.run, f"{cell.place[0]}: no")


def test_what_is_left_is_every_concept_with_every_seed(plan: Any, tmp_path: Path) -> None:
    """The seed leaves, or the concept, whichever leaves more."""
    out, cells = tmp_path / "out", plan("abc", 2)
    assert compared(cells, out) == {(name, seed) for name in "abc" for seed in (0, 1)}
    assert not_compared(cells, compared(cells, out), out) == []
    fail(cells[4])
    assert cells[4].place == ("b", 0)
    assert compared(cells, out) == {("a", 0), ("a", 1), ("c", 0), ("c", 1)}
    assert compared(cells[:8], out) == {("a", 1), ("b", 1)}, "as many either way: more concepts"
    assert failures(cells, out) == [{"run": "cells/b/seed-0/none", "why": "b: no"}]
    assert not_compared(cells, compared(cells, out), out) == [
        "cells/b/seed-0/none: b: no; to train it again, delete that folder",
        "by all priors, so that every concept has every seed: b seed 0, b seed 1",
    ]
    one = [cell for cell in cells if cell.place == ("b", 0)]
    with pytest.raises(QuarantineError, match=r"^nothing is left to compare: cells/b/seed-0/none"):
        compared(one, out)
    (cells[4].run.out / "quarantine.json").write_text("{")
    with pytest.raises(UserError, match=r"quarantine\.json: is damaged"):
        failure_of(cells[4].run)


@pytest.mark.parametrize(("quarantined", "code"), [([], 0), ([{"run": "a", "why": "b"}], 1)])
def test_the_command_ends_as_train_does(
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quarantined: list[dict[str, str]],
    code: int,
) -> None:
    monkeypatch.setattr(command, "_compare", lambda *_: {"quarantined": quarantined})
    monkeypatch.setattr(command, "_print_tables", lambda *_: None)
    named = {"priors": "none,gated", "images": [cat_pictures], "noun": "cat", "out": tmp_path}
    arguments = argparse.Namespace(**named, identifier=None, property=None, config=None)
    assert command.compare_command(arguments, {}) == code


def test_what_kohyas_folders_are_called_stays_what_captions_may_call_them(
    cat_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cell's word is the default one; the folder's own is in its captions."""
    for name in ("10_sks dog", "10_sks cat", "cat"):
        shutil.copytree(cat_pictures, tmp_path / name)
    monkeypatch.setattr(command, "_compare", lambda *_: None)
    folders = [tmp_path / name for name in ("10_sks dog", "10_sks cat", "cat")]
    named = {"priors": "none,gated", "images": folders, "noun": None, "out": tmp_path}
    told = tmp_path / "told.yaml"

    def found(config: Path | None) -> list[tuple[Any, Any]]:
        flags: dict[str, Any] = {}
        arguments = argparse.Namespace(**named, identifier=None, property=None, config=config)
        command.compare_command(arguments, flags)
        return [(c.get("identifier"), c.get("trigger")) for c in flags["concepts"]]

    assert found(None) == [(None, "<sks>"), (None, "<sks>"), (None, None)]
    for trigger, wanted in (("tabby", "tabby"), ("null", "<vox1>")):
        told.write_text(
            f"concepts: [{{images: {tmp_path}/cat, identifier: <vox1>, trigger: {trigger}}}]"
        )
        assert found(told) == [(None, "<sks>"), (None, "<sks>"), (None, wanted)]


@pytest.mark.thorough
@pytest.mark.parametrize("stage", [0, 1])
def test_the_others_go_on_and_the_same_call_trains_nothing_anew(
    plan: Any,
    backbone: Backbone,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stage: int,
) -> None:
    """Once a word in quarantine, once stage 2 under the first prior alone."""
    out, cells = tmp_path / "out", plan("ab", 1)
    plain, name = Training._gradient_norms, "none" if stage else "word"

    def norms(training: Training) -> Tensor:
        found = plain(training)
        if training.run.out.name == name and training.stage_index == stage:
            found[[concept.name for concept in training.active].index(BAD)] = torch.inf
        return found

    monkeypatch.setattr(Training, "_gradient_norms", norms)
    assert train_cells(cells, lambda: backbone, out, lambda run, done: False)
    assert not (out / "batches").exists()
    (failure,) = failures(cells, out)
    assert failure["run"] == f"cells/b/seed-0/{name}"
    assert failure["why"].startswith("b: the gradient is not finite at ")
    finished = [(cell.place[0], RunFolder(cell.run).finished) for cell in cells]
    assert finished == [("a", True), ("a", True), ("b", False), ("b", bool(stage))]
    assert compared(cells, out) == {("a", 0)}
    line = f"textreg: {failure['run']}: {failure['why']}; to train it again, delete that folder"
    assert capsys.readouterr().err.splitlines().count(line) == 1
    assert train_cells(cells, lambda: pytest.fail("loaded"), out, lambda run, done: False)
    assert capsys.readouterr().err == f"{line}\n"
    assert done(cells[0].run)
