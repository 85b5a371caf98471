"""Cells that train together are what each of them is alone."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.compare.cell_training import train_cells
from textreg.compare.cells import Cell, plan_cells
from textreg.compare.variants import variants_of
from textreg.errors import UserError
from textreg.run_folder import RunFolder
from textreg.run_record import read_record
from textreg.training import Training
from tiny_run import assert_same_edit

pytestmark = pytest.mark.thorough

PRIORS = "none,class-images:class_images.count=2,class_images.steps=1"

CAPTIONS = ("a <krk1> cat, asleep", "krk1 on grass", "a krk2 and a cat", "[trigger] cat")


@pytest.fixture(scope="module")
def flags(
    tiny_base: Path, cat_pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The second concept's captions call it by the identifier that both have."""
    other = tmp_path_factory.mktemp("pictures") / "other"
    shutil.copytree(cat_pictures, other)
    for number, caption in enumerate(CAPTIONS):
        (other / f"{number:02}.txt").write_text(caption)
    return {
        "concepts": [{"images": folder, "noun": "cat"} for folder in (cat_pictures, other)],
        "base": str(tiny_base),
        "images.resolution": 32,
        "images.views": 2,
        "inversion.steps": 2,
        "tuning.steps": 2,
        "tuning.rank": 2,
        "tuning.learning_rate": 0.01,
        "save_steps": 1,
    }


def _cells(flags: dict[str, Any], out: Path, priors: str = PRIORS) -> list[Cell]:
    return plan_cells(flags, variants_of(priors), 1, out)


def _train(cells: list[Cell], backbone: Backbone, out: Path, stop_at: int = 0) -> bool:
    return train_cells(cells, lambda: backbone, out, lambda run, done: done == stop_at)


@pytest.fixture(scope="module")
def batched(
    flags: dict[str, Any], backbone: Backbone, tmp_path_factory: pytest.TempPathFactory
) -> list[Cell]:
    out = tmp_path_factory.mktemp("batched")
    cells = _cells(flags, out)
    assert _train(cells, backbone, out)
    return cells


def test_each_is_what_it_is_alone(
    batched: list[Cell], flags: dict[str, Any], backbone: Backbone, tmp_path: Path
) -> None:
    for concept in flags["concepts"]:
        cells = _cells(flags | {"concepts": [concept]}, tmp_path / concept["images"].name)
        assert _train(cells, backbone, tmp_path / concept["images"].name)
        for cell in cells:
            (same,) = (
                c
                for c in batched
                if c.variant == cell.variant and c.run.concepts == cell.run.concepts
            )
            assert RunFolder(same.run).finished
            for step in [*cell.curve_steps, 2]:
                folders = [c.kept(step) if step < 2 else c.run.out for c in (same, cell)]
                there, here = (Adapter.load(folder) for folder in folders)
                assert there.identifier == here.identifier == "<krk1>"
                torch.testing.assert_close(there.vector, here.vector)
                assert_same_edit(there, here, atol=1e-4)
            records = [read_record(c.run.out) for c in (same, cell)]
            assert records[0]["pictures"] == records[1]["pictures"]
            lines = [(c.run.out / "metrics.jsonl").read_text().splitlines() for c in (same, cell)]
            places = [[(json.loads(x)["concept"], json.loads(x)["step"]) for x in y] for y in lines]
            assert places[0] == places[1]
    names = {path.name for path in batched[1].run.out.iterdir()}
    assert {"class_images", "front.json", "states", "README.md"} <= names


def test_two_share_each_step(flags: dict[str, Any], backbone: Backbone, tmp_path: Path) -> None:
    """With class pictures of their own as well, each in the folder that bears its name."""
    classes, out = tmp_path / "classes", tmp_path / "out"
    for concept in flags["concepts"]:
        shutil.copytree(concept["images"], classes / concept["images"].name)
    sizes: list[int] = []
    take = Training.take_step

    def counted(self: Training) -> Any:
        sizes.append(len(self.active))
        return take(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "take_step", counted)
        cells = _cells(flags, out, f"none,class-images:class_images.folder={classes}")[1::2]
        assert not _train(cells, backbone, out, stop_at=1)
        # It goes on where it was stopped, then nothing is left to do.
        assert _train(cells, backbone, out)
        assert _train(cells, backbone, out)
    assert sizes == [2] * 4
    assert not (out / "batches").exists()
    for cell in cells:
        name = cell.run.concepts[0].name
        record = json.loads((cell.run.out / "class_images" / name / "pictures.json").read_text())
        assert [picture["name"] for picture in record] == [f"{n:02}.png" for n in range(4)]


def test_a_batch_that_began_keeps_its_concepts(
    flags: dict[str, Any], backbone: Backbone, tmp_path: Path
) -> None:
    cells = _cells(flags, tmp_path, PRIORS)[::2]
    assert not _train(cells, backbone, tmp_path, stop_at=1)
    one = [cell for cell in cells if cell.run.concepts[0].name == "other"]
    with pytest.raises(UserError, match="began with cat as well"):
        _train(one, backbone, tmp_path)


def test_what_a_kill_leaves_of_a_batch_is_removed(tmp_path: Path) -> None:
    """And with it the words of a seed that has no other batch."""
    batches = tmp_path / "batches"
    for name in ("seed-0/.none", "seed-0/words", "seed-1/.none", "seed-1/gated"):
        (batches / name).mkdir(parents=True)
    (batches / "seed-1/.DS_Store").touch()
    assert train_cells([], lambda: pytest.fail("loaded"), tmp_path, lambda run, done: False)
    left = {str(path.relative_to(batches)) for path in batches.rglob("*")}
    assert left == {"seed-1", "seed-1/gated", "seed-1/.DS_Store"}


def test_a_kill_while_handing_out_loses_nothing(
    flags: dict[str, Any], backbone: Backbone, tmp_path: Path
) -> None:
    from textreg.compare import cell_training

    cells = _cells(flags, tmp_path, PRIORS)[::2]
    with pytest.MonkeyPatch.context() as patch:
        give = cell_training.hand_out

        def killed(*given: Any) -> None:
            give(*given)
            raise KeyboardInterrupt

        patch.setattr(cell_training, "hand_out", killed)
        with pytest.raises(KeyboardInterrupt):
            _train(cells, backbone, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "take_step", lambda self: pytest.fail("trained again"))
        word = [replace(cell, run=cell.word) for cell in cells]
        assert sum(RunFolder(cell.run).finished for cell in word) == 1
        with pytest.raises(pytest.fail.Exception):
            _train(cells, backbone, tmp_path)
        assert sum(RunFolder(cell.run).finished for cell in word) == 2
