"""Cells of several runs of the study in one JSON: the same numbers as of one run."""

from typing import Any

import pytest
from merging import made_of, merged, rectangle
from results import Part
from sections import amount

from test_study_page import PLACE_OF_PROVENANCE, content
from textreg.errors import UserError

SETTINGS = {"num_images": 16, "epsilon_prompts": 8, "seed": 0, "tuning_steps": 300}
SETTINGS |= {"steps": 20, "guidance": 4, "sampler": "ddim", "base_sha256": "ab"}


def _of(names: set[str], seeds: set[int], **changes: Any) -> dict[str, Any]:
    whole = content(concepts=3, seeds=2)
    more = {
        "planned": {"concepts": 3, "seeds": 2},
        "base": "toyland",
        "features": [],
        "settings": SETTINGS,
    }
    kept = {
        key: [x for x in whole[key] if x["concept"] in names and x["seed"] in seeds]
        for key in ("rows", "points")
    }
    return whole | PLACE_OF_PROVENANCE | more | kept | changes


def test_two_halves_are_the_whole() -> None:
    whole = content(concepts=3, seeds=2)
    first = _of({"cat"}, {0, 1}, hardware="one processor")
    found = merged(merged(first, _of({"dog"}, {0, 1})), _of({"vase"}, {0, 1}))
    assert found["summary"] == whole["summary"]
    assert found["curves"] == whole["curves"]
    assert [entry["hardware"] for entry in found["made"]] == ["one processor"] + 2 * ["a processor"]
    cells = [cell for entry in made_of(found) for cell in entry["cells"]]
    assert cells == [[name, seed] for name in ("cat", "dog", "vase") for seed in (0, 1)]


def test_a_cell_made_again_is_the_new_one() -> None:
    old, new = _of({"cat", "dog"}, {0}), _of({"dog", "vase"}, {0}, hardware="another")
    new["rows"] = [row | {"fidelity": {"score": 0.1}} for row in new["rows"]]
    found = merged(old, new)
    scores = {row["concept"]: row["fidelity"]["score"] for row in found["rows"]}
    assert scores == {"cat": 0.9, "dog": 0.1, "vase": 0.1}
    assert [entry["cells"] for entry in found["made"]] == [[["cat", 0]], [["dog", 0], ["vase", 0]]]


def test_numbers_are_of_the_seeds_that_every_concept_has() -> None:
    found = merged(_of({"cat", "dog"}, {0, 1}), _of({"vase"}, {1}))
    assert rectangle(found["rows"]) == {("cat", 1), ("dog", 1), ("vase", 1)}
    assert found["summary"]["steps"]["none"]["cells"] == 3
    assert len(found["rows"]) == 5 * 5


def test_what_decides_a_number_must_be_the_same() -> None:
    old = _of({"cat"}, {0})
    other = SETTINGS | {"num_images": 8}
    with pytest.raises(UserError, match=r"settings.num_images is 16 .* 8 here"):
        merged(old, _of({"dog"}, {0}, settings=other))
    newer = SETTINGS | {"versions": {"shots": 3}}
    with pytest.raises(UserError, match=r"settings.versions is None .*'shots': 3} here"):
        merged(old, _of({"dog"}, {0}, settings=newer))
    learned = SETTINGS | {"inversion": {"schedule": "cosine"}}
    with pytest.raises(UserError, match=r"settings.inversion is None .*'cosine'} here"):
        merged(old, _of({"dog"}, {0}, settings=learned))
    with pytest.raises(UserError, match="features"):
        merged(old, _of({"dog"}, {0}, features=["another judge"]))


def _in_time(made: dict[str, Any]) -> dict[str, Any]:
    """The same at equal time: hard mode in 284 of its 300 steps, the others in all."""
    rows = [
        r | {"equal": ["steps"] if r["prior"] == "hard" else ["steps", "time"]}
        for r in made["rows"]
    ]
    rows += [r | {"steps": 284, "equal": ["time"]} for r in made["rows"] if r["prior"] == "hard"]
    return made | {"rows": rows, "equal_time": {"300": {}}}


def test_equal_time_stays_with_the_cells_that_have_it() -> None:
    """Another seed at equal steps alone leaves the first one's times as they are."""
    old = _in_time(_of({"cat", "dog", "vase"}, {0}))
    found = merged(old, _of({"cat", "dog", "vase"}, {0, 1}))
    steps, time = found["summary"]["steps"], found["summary"]["time"]
    assert {entry["cells"] for entry in steps.values()} == {6}
    assert {entry["cells"] for entry in time.values()} == {3}
    assert (time["hard"]["steps"], time["none"]["steps"]) == (284, 300)
    assert found["equal_time"] == old["equal_time"]
    part = Part(found)
    assert part.places_of("time") == [(name, 0) for name in ("cat", "dog", "vase")]
    assert part.against("time", "hard", "none", "drift class")["value"] < 0
    assert "At equal time 3 concepts x 1 seed." in amount(part)
    assert "At equal time" not in amount(Part(old))


def test_a_cell_measured_anew_in_time_leaves_no_other_number_of_steps() -> None:
    old = _in_time(_of({"cat", "dog"}, {0}))
    new = _in_time(_of({"cat", "dog"}, {0}))
    new["rows"] = [r for r in new["rows"] if r["steps"] == 300]
    for row in new["rows"]:
        row["equal"] = ["steps", "time"]
    found = merged(old, new)
    assert found["summary"]["time"]["hard"]["steps"] == 300
    assert len(found["rows"]) == len(new["rows"])


def test_half_of_the_concepts_without_times_are_not_in_them() -> None:
    found = merged(_in_time(_of({"cat", "dog"}, {0})), _of({"vase"}, {0}))
    assert {entry["cells"] for entry in found["summary"]["time"].values()} == {2}
    assert {entry["cells"] for entry in found["summary"]["steps"].values()} == {3}
