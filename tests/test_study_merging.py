"""Cells of several runs of the study in one JSON: the same numbers as of one run."""

from typing import Any

import pytest
from merging import made_of, merged, rectangle

from test_study_page import PLACE_OF_PROVENANCE, content
from textreg.errors import UserError

SETTINGS = {"num_images": 16, "epsilon_prompts": 8, "seed": 0, "tuning_steps": 300}
SETTINGS |= {"steps": 20, "guidance": 4, "sampler": "ddim", "base_sha256": "ab"}


def _of(names: set[str], seeds: set[int], **changes: Any) -> dict[str, Any]:
    whole = content(concepts=3, seeds=2)
    more = {"planned": {}, "base": "toyland", "features": [], "settings": SETTINGS}
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
    learned = SETTINGS | {"inversion": {"schedule": "cosine"}}
    with pytest.raises(UserError, match=r"settings.inversion is None .*'cosine'} here"):
        merged(old, _of({"dog"}, {0}, settings=learned))
    with pytest.raises(UserError, match="features"):
        merged(old, _of({"dog"}, {0}, features=["another judge"]))
