"""docs/study.md from made-up results: what is decided is said, what is not run is said to be."""

import json
from pathlib import Path
from typing import Any

import page
import pytest
import sections
import torch
from answer import against_each, counts, price
from continual_section import continual
from equal_time import at_equal_time
from results import Part
from study import PARTS, concepts_word, kept_of
from wording import by_verdict, counted, difference

from textreg.compare.summary import curves, summarise

MARKS = ("short", "claims", "all", "textreg", "decay", "hard", "masks", "ablations", "falsifiers")
MARKS += ("candidates", "counts", "continual", "gains", "presets", "rivals", "time", "unmasked")
PRIORS: dict[str, dict[str, Any]] = {
    "none": {"prior": "none"},
    "class images": {"prior": "class-images"},
    "weight decay": {"prior": "weight-decay"},
    "soft": {"prior": "textreg", "textreg.hard": False},
    "hard": {"prior": "textreg", "textreg.hard": True},
}
DRIFT = {"none": 0.04, "class images": 0.05, "weight decay": 0.01, "soft": 0.01, "hard": 0.0}
PLACE_OF_PROVENANCE = {
    "hardware": "a processor",
    "memory_gibibytes": 8,
    "environment": {"gpu": None, "packages": {"torch": "2", "diffusers": "0"}},
    "commit": "abc",
    "changed_since": False,
    "load_average": 0.5,
    "dtype": "bf16",
}


def content(concepts: int = 3, seeds: int = 2, edits: float = 0.0) -> dict[str, Any]:
    """compare.json of made-up cells: fidelity rises with the steps, drift as DRIFT says."""
    random = torch.Generator().manual_seed(1)
    rows: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for concept in ("cat", "dog", "vase")[:concepts]:
        for seed in range(seeds):
            for label, most in DRIFT.items():
                noise = 0.1 * float(torch.rand(1, generator=random))
                shares = {
                    pool: most * (1 + noise)
                    for pool in ("class", "class_elsewhere", "neighbour", "general")
                }
                shares["null"] = 0.0
                where = {"concept": concept, "prior": label, "seed": seed}
                for step in (0, 150, 300):
                    drift = {pool: value * step / 300 for pool, value in shares.items()}
                    point = {"step": step, "fidelity": 0.6 + step / 1000, "drift": drift}
                    points.append(where | point)
                rows.append(where | row(shares, 0.8 + edits + noise) | {"equal": ["steps"]})
    return {
        "rows": rows,
        "points": points,
        "curves": curves(points),
        "summary": {"reference": "none", "steps": summarise(rows, "none")},
        "priors": PRIORS,
        "settings": {"base_sha256": "ab"},
    }


def row(shares: dict[str, float], edits: float) -> dict[str, Any]:
    measured = {"value": 0.5, "base": 0.5}
    return {
        "steps": 300,
        "seconds": 20.0,
        "fidelity": {"score": 0.9},
        "editability": {"score": edits, "base": 0.9, "edits": ["long"]},
        "drift": {
            "epsilon_shares": {pool: {"value": value} for pool, value in shares.items()},
            "epsilon_intervals": {},
            "class": {"judged": measured},
            "neighbour": {"judged": measured},
            "identifier": {
                "text": measured,
                "leakage": {"unmasked": measured},
                "attention": {"unmasked": measured},
            },
        },
    }


def write(folder: Path, name: str, made: dict[str, Any]) -> None:
    kept = kept_of(made, PARTS[name]) | PLACE_OF_PROVENANCE
    (folder / f"study-{name}.json").write_text(json.dumps(kept))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def test_every_section_says_that_it_was_not_run(tmp_path: Path, images: Path) -> None:
    found = page.blocks(tmp_path, images)
    assert set(found) == set(MARKS)
    assert all(text.startswith("Not run yet.") for text in found.values())
    assert list(images.iterdir()) == []


def test_sections_are_written_from_numbers(tmp_path: Path, images: Path) -> None:
    write(tmp_path, "main", content())
    write(tmp_path, "ablations", content())
    for ratio, more in ((0, 0.0), (50, 0.05)):
        write(tmp_path, f"mask-{ratio}", content(edits=more))
    found = page.blocks(tmp_path, images)
    assert "3 concepts (cat, dog, vase) x 2 seeds, **of 8 x 3 planned**" in found["all"]
    assert "| none | fidelity | less 2 | less 2 | less 2 |" in found["counts"]
    against_decay = found["decay"].split("\n- ")
    # Soft and weight decay drift alike but for noise; hard does not drift at all.
    (line,) = [x for x in against_decay if "At equal fidelity, drift of the class prompt" in x]
    assert line == (
        "At equal fidelity, drift of the class prompt: **less** for *hard*; undecided for *soft*."
    )
    assert "- hard: held; largest drift in any of 6 cells: class prompt 0.00 %" in found["hard"]
    assert "edits against ratio 0: **more** for *none, 0.5*" in found["masks"]
    assert "| none | 300 |" in found["ablations"]
    (line,) = [x for x in found["ablations"].split("\n- ") if "At equal steps, fidelity" in x]
    assert "Minus *none*:" in found["ablations"]
    alike = "*class images*, *weight decay*, *soft* and *hard*"
    assert line == f"At equal steps, fidelity: no difference for {alike}."
    assert "**moved** under *soft*" in found["falsifiers"]
    # 300 steps: .3 above the word, which has .6.
    assert "The word alone, at step 0, has fidelity 0.600." in found["gains"]
    assert "| hard | +0.300 [+0.300, +0.300] | 100% | +0.300 |" in found["gains"]
    assert "abc" in found["all"]
    plots = ["study-edits.svg", "study-equal-fidelity.svg", "study-masks.svg", "study-pareto.png"]
    assert sorted(p.name for p in images.iterdir()) == plots


def test_too_few_pairs_decide_nothing() -> None:
    part = Part(content(concepts=1) | {"planned": {"concepts": 8, "seeds": 3}})
    assert "with fewer than 6 pairs the test can decide nothing" in sections.amount(part)
    said = [sections.rivals(part, ["none", "weight decay"], ["steps"]), sections.hard_mode(part)]
    assert all("undecided" in text for text in said)
    assert not any(f"**{word}**" in text for text in said for word in ("less", "more"))


def test_without_the_points_of_cells_equal_fidelity_is_left_open() -> None:
    made = content() | {"planned": {"concepts": 8, "seeds": 3}}
    del made["points"]
    part = Part(made)
    assert sections.NO_POINTS in sections.rivals(part, ["none"], ["steps"])
    assert "| none | fidelity |" not in counts(part)


def test_the_answer_and_its_price() -> None:
    made = content()
    for point in made["points"]:
        if point["prior"] == "none":  # twice as fast as all others
            point["fidelity"] = 0.6 + point["step"] / 500
    part = Part(made)
    (line,) = [x for x in against_each(part, "hard", ["none"]).splitlines() if "| none |" in x]
    theirs = part.at_equal_fidelity("hard", "none", "class")
    assert theirs is not None
    assert line.startswith(f"| none | 0 / {100 * theirs['reference']:.2g} | 0 / ")
    assert line.endswith(" | 0.90 |")
    lines = price(part, "hard", ["none", "soft"]).splitlines()
    assert lines[0] == "The learned word alone has fidelity 0.60."
    edits = part.mean("steps", "hard", "editability").value
    assert lines[-3] == f"| hard | 0.90 | 50% | {edits:.2f} | step 300 |"
    assert lines[-2].endswith(" | step 150 |")
    for point in made["points"]:
        if point["prior"] == "soft":
            point["fidelity"] = 0.6
    assert price(Part(made), "hard", ["soft"]).splitlines()[-1].endswith(" | never |")


def test_equal_time_is_read_off_the_curves() -> None:
    made = content()
    steps = {label: {"steps": 300} for label in PRIORS} | {"class images": {"steps": 75}}
    part = Part(made | {"equal_time": {"against none": steps}})
    # Straight between the word's .6 at step 0 and .75 at step 150.
    read = part.at_step("class images", 75, "fidelity")
    assert list(read.values()) == pytest.approx(6 * [0.675])
    drift = part.at_step("class images", 75, "drift class")
    whole = part.at_step("class images", 300, "drift class")
    assert list(drift.values()) == pytest.approx([value / 4 for value in whole.values()])
    text = at_equal_time(part, ["hard"], ["class images"])
    assert text.startswith("Minus *class images*, at step 75:")
    assert "| hard | +0.225" in text
    with pytest.raises(ValueError, match="step 301 is not between 0 and 300"):
        part.at_step("hard", 301, "fidelity")


def test_continual_in_means_over_seeds() -> None:
    def sequence(prior: str, seed: int, lost: float) -> dict[str, Any]:
        drift = dict.fromkeys(("class", "class_elsewhere", "neighbour", "general", "null"), 0.5)
        measured = {"A": 0.9 - lost, "F": lost, "drift": drift}
        return {"prior": prior, "seed": seed, "concepts": ["cat", "dog"]} | measured

    rows = [
        sequence(prior, seed, lost + 0.02 * seed)
        for prior, lost in (("none", 0.2), ("hard", 0.01))
        for seed in (0, 1)
    ]
    # The second seed of one prior is not there: it is left out, as are means of fewer seeds.
    text = continual({"rows": [*rows, sequence("soft", 0, 0.1)]})
    assert "2 concepts (cat, dog), 2 seeds." in text
    assert "| none | 0.690 | 0.210 | 50.00 | 50.00 | 50.00 | 50.00 | 50.00 |" in text
    assert "| hard | 0.880 | 0.020 |" in text
    assert "soft" not in text


def test_wording() -> None:
    def found(value: float, verdict: str) -> dict[str, Any]:
        return {"value": value, "interval": [value - 0.01, value + 0.01], "verdict": verdict}

    assert difference(found(-0.05, "less"), True) == "-5.00 [-6.00, -4.00] **less**"
    assert difference(found(0.0, "equal"), False) == "0 equal"
    tie = (0.32895, 0.3289499999999999, 0.3289500000000001)
    assert len({difference(found(value, "more"), True) for value in tie}) == 1
    each = {"a": found(-0.05, "less"), "b": found(0.0, "undecided"), "c": found(0.0, "undecided")}
    assert by_verdict(each) == "**less** for *a*; undecided for *b* and *c*."
    assert counted(each.values()) == "less 1, undecided 2"


def test_concepts_by_number_and_by_name() -> None:
    part = PARTS["ablations"]
    assert concepts_word("2")(part) == ("cat", "teapot")
    assert len(concepts_word("8")(part)) == part.concepts
    assert concepts_word("vase,cat,vase")(part) == ("vase", "cat")


def test_the_page_has_every_mark() -> None:
    text = page.PAGE.read_text()
    for mark in MARKS:
        assert text.count(f"<!-- {mark} -->") == text.count(f"<!-- end of {mark} -->") == 1
