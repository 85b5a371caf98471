"""What a run's record tells the metadata of its files, and what it does not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from textreg.config import Concept, Images, Inversion, Run, TextReg, Tuning, plain
from textreg.run_facts import facts_of


@pytest.fixture
def run(tmp_path: Path) -> Run:
    concepts = (Concept(images=Path("cat"), noun="cat"), Concept(images=Path("dog"), noun="dog"))
    run = Run(
        concepts=(concepts[0], replace(concepts[1], identifier="<krk2>")),
        base=str(tmp_path),
        out=tmp_path,
        seed=5,
        inversion=Inversion(steps=10),
        tuning=Tuning(steps=20),
    )
    record = {"run": plain(run), "pictures": {"cat": ["a", "b"], "dog": ["c"]}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(record))
    lines = [
        {"concept": "cat", "step": 10, "drift": {"class": 0.5}},
        {"concept": "cat", "step": 20, "drift": {"class": 0.1234567, "null": 0.0}},
        {"concept": "dog", "step": 20, "drift": {"class": 0.25}},
        {"concept": "cat", "step": 20},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_each_concepts_own_facts(run: Run) -> None:
    sizes = {"resolution": 512, "prediction_type": "epsilon"}
    cat, dog = (facts_of(run.out, run, concept, **sizes) for concept in run.concepts)
    assert (cat.seed, cat.steps, cat.resolution, cat.pictures) == (5, 30, 512, 2)
    assert dog.pictures == 1
    earlier = facts_of(run.out, run, run.concepts[0], steps=15, **sizes)
    assert earlier.steps == 25
    assert json.loads(dict(earlier.more)["textreg.drift"]) == {"class": 0.5}
    # Of a base's folder the name alone.
    assert cat.base == run.out.name
    more = dict(cat.more)
    assert more["textreg.prior"] == "textreg"
    assert (more["textreg.class_weight"], more["textreg.edit_weight"]) == ("0.01", "0.1")
    assert json.loads(more["textreg.drift"]) == {"class": 0.1235, "null": 0.0}
    assert json.loads(dict(dog.more)["textreg.drift"]) == {"class": 0.25}
    assert more["textreg.prompts"] != dict(dog.more)["textreg.prompts"]


def test_settings_show(run: Run) -> None:
    sizes = {"resolution": 512, "prediction_type": "v_prediction"}
    hard = replace(run, textreg=TextReg(hard=True), images=Images(resolution=256))
    facts = facts_of(run.out, hard, run.concepts[0], **sizes)
    assert (facts.resolution, facts.prediction_type) == (256, "v_prediction")
    assert dict(facts.more)["textreg.class_weight"] == "hard"
    free = facts_of(run.out, replace(run, prior="none"), run.concepts[0], **sizes)
    assert {name for name, _ in free.more} == {"textreg.prior", "textreg.drift"}


def test_of_an_imported_concept_nothing_is_claimed(run: Run) -> None:
    imported = replace(run, inversion=Inversion(steps=0), tuning=Tuning(steps=0))
    facts = facts_of(run.out, imported, run.concepts[0], resolution=512, prediction_type="epsilon")
    assert (facts.seed, facts.steps, facts.resolution, facts.pictures) == (None,) * 4
    assert facts.more == ()
