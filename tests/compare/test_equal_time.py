"""equal_time.json: measured once, and again only where it was of something else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from textreg.compare.cells import Cell, plan_cells
from textreg.compare.equal_time import equal_time, key_of, settings_digest, unequal_company
from textreg.compare.variants import variants_of
from textreg.run_folder import RunFolder

PRIORS = "none,textreg"


@pytest.fixture
def plan(tiny_base: Path, cat_pictures: Path, tmp_path: Path) -> Any:
    for name in "ab":
        shutil.copytree(cat_pictures, tmp_path / name)

    def planned(names: str, **settings: Any) -> list[Cell]:
        flags = {
            "concepts": [{"images": tmp_path / name, "noun": "cat"} for name in names],
            "base": str(tiny_base),
            "tuning.steps": 100,
        }
        return plan_cells(flags | settings, variants_of(PRIORS), 1, tmp_path / "out")

    return planned


def finish(cells: list[Cell], seconds: tuple[float, float], shared: int) -> None:
    """As a run of so many concepts leaves a cell: the seconds of `none` and `textreg`."""
    for cell, each in zip(cells, seconds * len(cells), strict=False):
        place = RunFolder(cell.run)
        shutil.rmtree(place.path, ignore_errors=True)
        place.path.mkdir(parents=True)
        place.claim({}, "0" * 24, {"batch_concepts": shared})
        place.note([json.dumps({"stage": "tuning", "seconds": each})])


def steps(known: dict[str, Any]) -> list[int]:
    return [known[label]["steps"] for label in ("none", "textreg")]


def test_measured_once_while_nothing_changes(plan: Any, tmp_path: Path) -> None:
    path, cells = tmp_path / "equal_time.json", plan("ab")
    finish(cells, (0.1, 0.2), 2)
    first = equal_time(cells, path)
    assert steps(first) == [100, 50]
    assert [first[label]["sharing"] for label in first] == [[2], [2]]
    finish(cells, (0.1, 0.4), 2)
    assert equal_time(cells, path) == first


def test_measured_again_when_other_numbers_share_a_step(plan: Any, tmp_path: Path) -> None:
    path, one, both = tmp_path / "equal_time.json", plan("a"), plan("ab")
    finish(one, (0.2, 0.2), 1)
    assert steps(equal_time(one, path)) == [100, 100]
    finish(both, (0.1, 0.2), 2)
    found = equal_time(both, path)
    assert steps(found) == [100, 50]
    assert unequal_company(found, ["none", "textreg"]) == []


def test_a_prior_with_other_settings_is_measured_again_alone(plan: Any, tmp_path: Path) -> None:
    path, cells = tmp_path / "equal_time.json", plan("a")
    finish(cells, (0.1, 0.2), 1)
    equal_time(cells, path)
    textreg = replace(cells[1].run, textreg=replace(cells[1].run.textreg, hard=False))
    changed = [cells[0], replace(cells[1], run=textreg)]
    finish(changed, (0.3, 0.4), 1)
    found = equal_time(changed, path)
    assert [found[label]["seconds_per_step"] for label in found] == [0.1, 0.4]
    assert steps(found) == [100, 25]


def test_with_the_reference_all_are_measured_again(plan: Any, tmp_path: Path) -> None:
    path, cells = tmp_path / "equal_time.json", plan("a")
    finish(cells, (0.1, 0.2), 1)
    equal_time(cells, path)
    finish(cells, (0.2, 0.2), 1)
    finish(cells[:1], (0.2, 0.2), 2)
    found = equal_time(cells, path)
    assert steps(found) == [100, 100]
    assert unequal_company(found, ["none", "textreg"]) == [
        "equal company at equal time: 'textreg' had steps shared by 1 concepts, 'none' by 2, and a "
        "shared step is cheaper for each"
    ]


def test_what_an_earlier_version_measured_holds(plan: Any, tmp_path: Path) -> None:
    """And what benchmarks/study/step_times.py did, for any number of concepts."""
    path, cells = tmp_path / "equal_time.json", plan("ab")
    finish(cells, (0.1, 0.4), 2)
    entries: dict[str, dict[str, Any]] = {
        label: {"steps": 77, "seconds_per_step": 0.5} for label in ("none", "textreg")
    }
    for more in ({}, {"settings": settings_digest(cells[0].run)}):
        entries["none"] |= more
        path.write_text(json.dumps({key_of("none", 100): entries}))
        before = path.read_bytes()
        assert equal_time(cells, path) == entries
        assert unequal_company(entries, ["none", "textreg"]) == []
        assert path.read_bytes() == before


def test_the_digest_is_of_no_concept_seed_or_place(plan: Any) -> None:
    cells = [*plan("ab"), *plan("b", seed=7)]
    digests = [settings_digest(cell.run) for cell in cells]
    assert digests == [digests[0], digests[1]] * 3
    assert len({*digests, settings_digest(plan("a", **{"tuning.rank": 3})[0].run)}) == 3
