"""`compare` from pictures to one table, on the tiny base, with a made-up extractor."""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.compare import Comparison, cell_training, compare
from textreg.compare import comparison as comparing
from textreg.compare.comparison import Watch
from textreg.compare.variants import variants_of
from textreg.errors import UserError
from textreg.evaluate import Options, epsilon_drift, evaluate, model_pair, probe
from textreg.evaluate.features import pixel_tensor
from textreg.trainer import steps
from textreg.training import Training

pytestmark = pytest.mark.thorough

SLOW = "class-images:class_images.count=2,class_images.steps=1"
PRIORS = f"none,{SLOW},gated"
QUESTIONS = """
neighbours: [dog]
general: [a photo of the dog]
edits: ["a {} of the photo"]
steps: 1
"""


class Means:
    """Sees the mean colours of four quarters."""

    name, digest, side = "means", "0" * 64, None

    def features(self, images: Sequence[Image.Image]) -> Tensor:
        pixels = torch.cat([pixel_tensor([image.resize((2, 2))]) for image in images])
        return torch.nn.functional.normalize(pixels.flatten(1) - 0.5, dim=1)

    def text_features(self, prompts: Sequence[str]) -> Tensor:
        return torch.nn.functional.one_hot(torch.tensor([len(p) % 12 for p in prompts]), 12).float()


@pytest.fixture(scope="module")
def patched(backbone: Backbone) -> Any:
    """A few timesteps of a few prompts, and the base of the other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "TIMESTEPS", 1)
        patch.setattr(epsilon_drift, "_STEPS", 1)
        patch.setattr(model_pair, "load", lambda source, **_: backbone)
        # As if class images took twice the reference's time.
        patch.setattr(comparing, "equal_time", fixed_time)
        yield patch


def fixed_time(some: Any, path: Path) -> dict[str, Any]:
    return {c.variant.label: {"steps": 2 if "class" in c.variant.label else 4} for c in some}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    path = tmp_path_factory.mktemp("questions") / "questions.yaml"
    path.write_text(QUESTIONS)
    return Options(prompts=path, num_images=2, epsilon_prompts=1)


@pytest.fixture(scope="module")
def comparison(
    tiny_base: Path, cat_pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Comparison:
    return Comparison(
        flags={
            "concepts": [{"images": cat_pictures, "noun": "cat"}],
            "base": str(tiny_base),
            "images.resolution": 32,
            "images.views": 2,
            "inversion.steps": 2,
            "tuning.steps": 4,
            "tuning.rank": 2,
            "tuning.learning_rate": 0.01,
            "save_steps": 2,
        },
        variants=variants_of(PRIORS),
        out=tmp_path_factory.mktemp("compare") / "out",
        seeds=2,
        shares=(0.5,),
    )


@pytest.fixture(scope="module")
def content(comparison: Comparison, options: Options, patched: Any) -> dict[str, Any]:
    found = compare(comparison, [Means()], options)
    assert found is not None
    return found


def test_a_row_each_prior_and_seed_in_the_form_of_report_json(
    comparison: Comparison, content: dict[str, Any]
) -> None:
    assert json.loads((comparison.out / "compare.json").read_text()) == content
    labels = [variant.label for variant in comparison.variants]
    rows = [(r["prior"], r["seed"], r["steps"], r["equal"]) for r in content["rows"]]
    assert rows == [
        (label, seed, 4, ["steps"] if "class" in label else ["steps", "time"])
        for seed in (0, 1)
        for label in labels
    ] + [(SLOW, seed, 2, ["time"]) for seed in (0, 1)]
    for row in content["rows"]:
        assert row["concept"] == "cat"
        assert row["seconds"] > 0
        assert 0 <= row["fidelity"]["score"] <= 1
        assert list(row["drift"]["epsilon"]) == [
            "class",
            "class_elsewhere",
            "neighbour",
            "general",
            "null",
        ]
    drift = {r["prior"]: r["drift"]["epsilon"] for r in content["rows"] if r["seed"] == 1}
    assert drift["none"]["class"] > 0
    assert drift["gated"]["neighbour"] == 0
    assert content["summary"]["time"][SLOW]["steps"] == 2
    # Of the word that all begin with; the cells themselves have no first stage.
    assert content["settings"]["inversion"]["steps"] == 2
    assert content["settings"]["tuning"]["rank"] == 2
    assert {e["cells"] for e in content["summary"]["steps"].values()} == {2}


def test_all_start_from_the_same_word(comparison: Comparison, content: dict[str, Any]) -> None:
    words = {}
    for seed in (0, 1):
        home = comparison.out / "cells" / "cat" / f"seed-{seed}"
        files = {p.read_bytes() for p in home.glob("*/states/*/learned_embeds.safetensors")}
        assert len(list(home.glob("*/states/*"))) == len(comparison.variants) + 1
        vectors = [Adapter.load(f).vector for f in home.iterdir() if (f / "run.yaml").is_file()]
        assert len(vectors) == len(comparison.variants) + 2
        assert all(torch.equal(vector, vectors[0]) for vector in vectors)
        assert files
        words[seed] = vectors[0]
    assert not torch.equal(words[0], words[1])


def test_all_draw_from_the_same_seeds_and_the_base_draws_once(
    comparison: Comparison, content: dict[str, Any]
) -> None:
    manifests = [
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted((comparison.out / "cells").rglob("pictures-cat.jsonl"))
    ]
    assert len(manifests) == 8

    def plan(lines: list[dict[str, Any]], keys: Sequence[str]) -> list[tuple[Any, ...]]:
        return [tuple(line[key] for key in keys) for line in lines]

    for lines in manifests[1:]:
        keys = ("model", "pool", "prompt", "seed")
        assert plan(lines, keys) == plan(manifests[0], keys)
        of_base = [[x for x in some if x["model"] == "base"] for some in (lines, manifests[0])]
        assert plan(of_base[0], ("picture",)) == plan(of_base[1], ("picture",))


def test_class_pictures_are_drawn_once(comparison: Comparison, content: dict[str, Any]) -> None:
    drawn = sorted((comparison.out / "class_pictures").rglob("*.png"))
    assert [path.name for path in drawn] == ["00000.png", "00001.png"]
    records = list((comparison.out / "cells").rglob("class_images/cat/pictures.json"))
    assert len(records) == 4
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in drawn]
    for record in records:
        assert [picture["sha256"] for picture in json.loads(record.read_text())] == hashes
    assert not list((comparison.out / "cells").rglob("class_images/**/*.png"))


def test_values_are_those_of_evaluate(
    comparison: Comparison, content: dict[str, Any], options: Options, tmp_path: Path, patched: Any
) -> None:
    folder = comparison.out / f"cells/cat/seed-1/{comparison.variants[1].folder}"
    alone = tmp_path / "run"
    shutil.copytree(folder, alone, ignore=shutil.ignore_patterns("evaluation"))
    found = evaluate(alone, [Means()], options)
    (row,) = (r for r in content["rows"] if (r["prior"], r["seed"], r["steps"]) == (SLOW, 1, 4))
    assert found["rows"][0]["prior"] == "class-images"
    assert {k: found["rows"][0].get(k) for k in row} == row | {
        "prior": "class-images",
        "equal": None,
    }
    (last,) = (p for p in content["points"] if (p["prior"], p["seed"], p["step"]) == (SLOW, 1, 4))
    assert last["fidelity"] == row["fidelity"]["score"]
    # The mean of the table is that of the rows.
    scores = [r["fidelity"]["score"] for r in content["rows"] if r["prior"] == "gated"]
    mean = content["summary"]["steps"]["gated"]["fidelity"]
    assert mean["value"] == pytest.approx(sum(scores) / 2)
    assert mean["interval"] == pytest.approx([min(scores), max(scores)])


def test_a_curve_goes_from_the_word_to_the_end(content: dict[str, Any]) -> None:
    curves = content["curves"]
    assert {tuple(p["step"] for p in line) for line in curves.values()} == {(0, 2, 4)}
    first = [line[0] for line in curves.values()]
    assert all(point["fidelity"] == first[0]["fidelity"] for point in first)
    assert all(point["drift"]["class"]["value"] == 0 for point in first)
    everything = [p for line in curves.values() for p in line]
    for point in everything:
        better = [
            q
            for q in everything
            if q["fidelity"]["value"] >= point["fidelity"]["value"]
            and q["drift"]["class"]["value"] <= point["drift"]["class"]["value"]
            and (q["fidelity"]["value"], -q["drift"]["class"]["value"])
            != (point["fidelity"]["value"], -point["drift"]["class"]["value"])
        ]
        assert point["on_front"]["class"] == (not better)


def test_two_seeds_decide_nothing(content: dict[str, Any]) -> None:
    for entry in content["summary"]["steps"].values():
        for value in entry.values():
            if isinstance(value, dict) and "against" in value:
                assert value["against"]["verdict"] in ("undecided", "equal")


def test_the_page_is_self_contained(comparison: Comparison, content: dict[str, Any]) -> None:
    page = re.sub(r'"data:[^"]*"', '"embedded"', (comparison.out / "compare.html").read_text())
    assert set(re.findall(r'(?:src|href)="([^"]*)"', page)) == {"embedded"}
    # Class, concept, edits and neighbours by each; the base knows no concept.
    assert page.count('alt="pictures by') == 4 * (len(comparison.variants) + 1) - 1
    for word in ("http", "<script", "nan", "None", "{{"):
        assert word not in page
    assert (comparison.out / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_call_only_reads(
    comparison: Comparison, content: dict[str, Any], options: Options, tmp_path: Path, patched: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (model_pair, cell_training):
            for name in ("load", "trainings"):
                if hasattr(module, name):
                    patch.setattr(module, name, lambda *_, **__: pytest.fail("done again"))
        again = compare(comparison, [Means()], options)
        assert again == content
        # Elsewhere as well, cells at equal time and class pictures among them.
        moved = shutil.copytree(comparison.out, tmp_path / "moved")
        assert compare(replace(comparison, out=moved), [Means()], options) == content


def test_a_cell_in_quarantine_leaves_every_table(
    comparison: Comparison, content: dict[str, Any], options: Options, patched: Any
) -> None:
    """Its seed with it; nothing is trained, and the page and the JSON name it."""
    place = comparison.out / "cells/cat/seed-1/gated/quarantine.json"
    place.write_text('{"why": "cat: no"}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_training, "trainings", lambda *_, **__: pytest.fail("trained"))
        found = compare(comparison, [Means()], options)
    assert found is not None
    assert found["quarantined"] == [{"run": "cells/cat/seed-1/gated", "why": "cat: no"}]
    assert found["rows"] == [row for row in content["rows"] if row["seed"] == 0]
    assert found["points"] == [point for point in content["points"] if point["seed"] == 0]
    assert {e["cells"] for e in found["summary"]["steps"].values()} == {1}
    lines = [
        "cells/cat/seed-1/gated: cat: no; to train it again, delete that folder",
        "by all priors, so that every concept has every seed: cat seed 1",
    ]
    assert found["left_out"][-2:] == lines
    page = (comparison.out / "compare.html").read_text()
    assert all(line in page for line in lines)
    place.unlink()
    assert compare(comparison, [Means()], options) == content


@pytest.mark.slow
def test_killed_it_goes_on_and_recomputes_nothing_finished(
    comparison: Comparison,
    content: dict[str, Any],
    options: Options,
    tmp_path: Path,
    patched: Any,
) -> None:
    taken: list[tuple[str, int]] = []
    take = Training.take_step

    def counted(self: Training) -> Any:
        taken.append((self.run.out.name, self.global_step))
        if len(taken) == 10:
            raise KeyboardInterrupt
        return take(self)

    other = Comparison(
        flags=comparison.flags,
        variants=comparison.variants[::2],
        out=tmp_path / "out",
        seeds=1,
        equal="steps",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "take_step", counted)
        with pytest.raises(KeyboardInterrupt):
            compare(other, [Means()], options)
        assert not (tmp_path / "out" / "compare.json").exists()
        stopped = compare(other, [Means()], options, Watch(step=lambda run, done: done == 3))
        assert stopped is None
        found = compare(other, [Means()], options)
    once = [
        ("word", 0),
        ("word", 1),
        *(("none", n) for n in range(4)),
        *(("gated", n) for n in range(4)),
    ]
    # Killed within a step, the run goes on from its last checkpoint; stopped, from where it was.
    assert taken == [*once[:10], *once[8:]]
    assert found is not None
    rows = {(r["prior"], r["seed"]): r for r in content["rows"]}
    for row in found["rows"]:
        same = rows[row["prior"], row["seed"]]
        assert row["fidelity"] == same["fidelity"]
        assert row["drift"]["epsilon"] == same["drift"]["epsilon"]


def test_bad_input_is_refused_before_anything_slow(
    comparison: Comparison, content: dict[str, Any], options: Options, tmp_path: Path, patched: Any
) -> None:
    def changed(**changes: Any) -> Comparison:
        given = {name: getattr(comparison, name) for name in Comparison.__dataclass_fields__}
        return Comparison(**given | changes)

    def refused(given: Comparison, message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            compare(given, [Means()], options)
        assert "\n" not in str(caught.value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_pair, "load", lambda *_, **__: pytest.fail("loaded"))
        refused(changed(seeds=0), "--seeds is 0")
        refused(changed(flags=comparison.flags | {"inversion.steps": 0}), "must both be at least 1")
        refused(changed(flags=comparison.flags | {"tuning.rank": 3}), "holds another run: .*rank")
        twice = comparison.flags["concepts"] * 2
        refused(
            changed(flags=comparison.flags | {"concepts": twice}), "share the folder name 'cat'"
        )
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "letter.txt").write_text("dear")
        refused(changed(out=tmp_path / "mine"), r"is no comparison's folder \(letter.txt\)")
        (tmp_path / "theirs").mkdir()
        (tmp_path / "theirs" / "compare.json").write_text("{}")
        refused(changed(out=tmp_path / "theirs"), r"compare.json: was made by something else")
        wrong = variants_of("none,class-images:class_images.folder=/nowhere")
        refused(changed(variants=wrong, out=tmp_path / "new"), "/nowhere")
        assert not (tmp_path / "new").exists()
        with pytest.raises(UserError, match="no --features: nothing could look"):
            compare(comparison, [], options)
        many = tmp_path / "many.yaml"
        many.write_text(QUESTIONS.replace("steps: 1", "steps: 5000"))
        with pytest.raises(UserError, match=r"is 5000; this base has 1000 at most"):
            compare(comparison, [Means()], Options(prompts=many, num_images=2))
        with pytest.raises(UserError, match="means is given twice"):
            compare(comparison, [Means(), Means()], options)
        patch.setattr(model_pair, "base_digest", lambda place: "0" * 64)
        refused(comparison, "seed-0/word: was trained on the base .* is now another")
    # Known only to the base: refused before the first step all the same.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_training, "trainings", lambda *_, **__: pytest.fail("trained"))
        wide = variants_of("none,textreg:textreg.class_templates=several")
        refused(changed(variants=wide, out=tmp_path / "new"), "fewer than --rank 2")
        long = tmp_path / "long.yaml"
        long.write_text(f"edits: ['{'a photo of the ' * 40}{{}}']\nsteps: 1\n")
        with pytest.raises(UserError, match="cut off"):
            compare(changed(out=tmp_path / "new"), [Means()], Options(prompts=long, num_images=2))


def test_a_run_is_what_steps_trains(
    comparison: Comparison, content: dict[str, Any], tmp_path: Path, backbone: Backbone
) -> None:
    """Keeping states on the way changes nothing in the end."""
    from textreg.run_record import read_record
    from textreg.settings import run_from

    folder = comparison.out / "cells/cat/seed-0/none"
    record = read_record(folder)["run"]
    for _ in steps(run_from(record | {"out": tmp_path / "run"}, folder), backbone):
        pass
    name = "pytorch_lora_weights.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes()
