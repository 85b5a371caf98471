"""`evaluate` from a finished run to a report, on the tiny base, with a made-up extractor."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from random_base import write_base

from mean_colours import Means
from textreg.backbone import Backbone
from textreg.errors import UserError
from textreg.evaluate import Options, epsilon_drift, evaluate, evaluation, model_pair, probe
from textreg.evaluate.features import pixel_tensor
from textreg.evaluate.left_out import unread
from textreg.evaluate.pretrained_features import ClipFeatures, Dinov2Features
from textreg.evaluate.questions import Questions
from textreg.evaluate.row import report_row
from textreg.sampling import PictureModel, sample
from tiny_run import tiny_run, train

pytestmark = pytest.mark.thorough

QUESTIONS = """
neighbours: [dog]
general: [a photo of the dog]
edits: [{prompt: "a {} of the photo", shows: {tint: red}}, "the {} in a photo"]
steps: 1
"""
COUNT = 8


@pytest.fixture(scope="module")
def finished(
    tiny_base: Path,
    cat_pictures: Path,
    backbone: Backbone,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("evaluate") / "run"
    train(tiny_run(tiny_base, out, cat_pictures), backbone)
    return out


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, backbone: Backbone) -> None:
    """A few timesteps of a few prompts, and the base of the other tests."""
    monkeypatch.setattr(probe, "TIMESTEPS", 2)
    monkeypatch.setattr(epsilon_drift, "_STEPS", 2)
    monkeypatch.setattr(model_pair, "load", lambda source, **_: backbone)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("questions") / "questions.yaml"
    path.write_text(QUESTIONS)
    return path


@pytest.fixture(scope="module")
def options(questions: Path) -> Options:
    return Options(prompts=questions, num_images=COUNT, epsilon_prompts=2)


@pytest.fixture
def measured(finished: Path, options: Options) -> dict[str, Any]:
    return evaluate(finished, [Means()], options)


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_report_keeps_its_contract(finished: Path, measured: dict[str, Any]) -> None:
    assert json.loads((finished / "report.json").read_text()) == measured
    (row,) = measured["rows"]
    assert [row[key] for key in ("concept", "prior", "seed", "steps")] == ["cat", "textreg", 0, 3]
    assert row["seconds"] > 0
    assert 0 <= row["fidelity"]["score"] <= 1
    assert 0 <= row["editability"]["score"] <= 1
    epsilon = row["drift"]["epsilon"]
    assert list(epsilon) == ["class", "class_elsewhere", "neighbour", "general", "null"]
    assert all(isinstance(value, float) and value >= 0 for value in epsilon.values())
    assert measured["features"] == [{"name": "means", "sha256": "0" * 64}]
    assert measured["left_out"] == [
        "kid needs 16 pictures a side, there are 8: --num-images 16",
        "cat: a verdict on editability: of 4 pictures, it needs 8, 23 to be kept: --num-images 46",
        "cat: a verdict on cat still read as such: of 8 pictures, it needs 23 to be kept: "
        "--num-images 23",
        "cat: a verdict on other nouns still read as such: of 4 pictures, it needs 8, 23 to be "
        "kept: --num-images 46",
        "cat: a verdict on cmmd: of 4 pictures of other nouns there is no scale, it needs 6: "
        "--num-images 12",
        "cat: a verdict on drift of other nouns: of 1 different prompts, it needs 6: name more "
        "neighbours in --prompts",
        "cat: a verdict on drift of general prompts: of 1 different prompts, it needs 6: name "
        "more general in --prompts",
        "verdicts on epsilon-drift: of 2 prompts a pool, they need 8: --epsilon-prompts 8",
    ]
    assert measured["summary"]["verdicts"].keys() == {"cat"}


def test_the_page_is_self_contained(finished: Path, measured: dict[str, Any]) -> None:
    page = re.sub(r'"data:[^"]*"', '"embedded"', (finished / "report.html").read_text())
    assert set(re.findall(r'(?:src|href)="([^"]*)"', page)) == {"embedded"}
    assert measured["summary"]["verdicts"]["cat"] in page
    for word in ("http", "<script", "nan", "None", "{{"):
        assert word not in page
    # Class, concept, two edits by both, neighbours and general by both; photos are there as well.
    # Of base and tuned, and of the base once more over the concept.
    assert page.count('alt="a photo of a cat"') == 3 * COUNT
    assert page.count('alt="a photo of a &lt;krk1&gt; cat"') == COUNT
    assert page.count('alt="photo of the concept"') == 4
    drawn = finished / "evaluation" / "pictures-cat.jsonl"
    lines = [json.loads(line) for line in drawn.read_text().splitlines()]
    pools = Counter(line["pool"] for line in lines if line["model"] == "tuned")
    assert pools == {"class": 8, "concept": 8, "edits": 8, "neighbours": 4, "general": 4}
    assert "share of 4 neighbour pictures a side" in page
    assert "Pictures of the same prompt and seed" in page
    assert "8 pictures of the class by each model and as many of other seeds" in page
    assert "8 of edits, 4 of other nouns and 4 of general prompts by each model" in page


def test_pictures_are_those_that_sample_draws(
    finished: Path, measured: dict[str, Any], backbone: Backbone
) -> None:
    """Whoever types the prompt and seed of the manifest sees the same picture."""
    place = finished / "evaluation"
    lines = [json.loads(x) for x in (place / "pictures-cat.jsonl").read_text().splitlines()]
    assert {line["picture"] for line in lines} == {p.name for p in (place / "pictures").iterdir()}
    line = next(x for x in lines if (x["model"], x["prompt"]) == ("base", "a cat of the photo"))
    pairs = [x for x in lines if (x["pool"], x["question"]) == ("edits", 0)]
    half = len(pairs) // 2
    assert [x["seed"] for x in pairs[:half]] == [x["seed"] for x in pairs[half:]] == [0, 1, 2, 3]
    assert {x["prompt"] for x in pairs[half:]} == {"a <krk1> cat of the photo"}
    model = PictureModel(backbone)
    (picture,) = sample(model, [line["prompt"]], seeds=[line["seed"]], steps=1)
    drawn = Image.open(place / "pictures" / line["picture"])
    change = pixel_tensor([drawn]) - pixel_tensor([picture.image])
    # Batches of another size round differently, by one level at most.
    assert float(change.abs().max()) <= 1.01 / 255


def test_a_second_call_recomputes_nothing(
    finished: Path,
    measured: dict[str, Any],
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*given: Any, **named: Any) -> Any:
        raise AssertionError("computed again")

    for step in ("load", "PictureModel"):
        monkeypatch.setattr(model_pair, step, refuse)
    monkeypatch.setattr(evaluation.score, "score_features", refuse)
    monkeypatch.setattr("textreg.evaluate.report._html", refuse)
    before, extractor = files(finished), Means()
    assert evaluate(finished, [extractor], options) == measured
    assert extractor.seen == 0
    assert files(finished) == before


def test_another_extractor_draws_nothing_anew(
    finished: Path, measured: dict[str, Any], options: Options, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(model_pair, "load", lambda *_, **__: pytest.fail("loaded"))
    other = Means()
    other.digest = "1" * 64
    found = evaluate(finished, [other], Options(**vars_of(options) | {"out": tmp_path}))
    assert other.seen > 0
    assert found["rows"][0]["fidelity"] == measured["rows"][0]["fidelity"]
    assert {p.name for p in tmp_path.iterdir()} == {"report.json", "report.html"}


def test_clip_and_dinov2_see_a_real_base(
    finished: Path,
    measured: dict[str, Any],
    options: Options,
    clip_folder: Path,
    dinov2_folder: Path,
    tmp_path: Path,
) -> None:
    """Fidelity is the first's, editability the first's that can read; both are pinned."""
    seen = [Dinov2Features(dinov2_folder), ClipFeatures(clip_folder)]
    found = evaluate(finished, seen, Options(**vars_of(options) | {"out": tmp_path}))
    assert found["features"] == [{"name": e.name, "sha256": e.digest} for e in seen]
    (row,) = found["rows"]
    assert row["fidelity"]["features"] == "dinov2"
    assert row["editability"]["features"] == "clip"
    assert row["editability"]["kind"] == "cosine to the prompt"
    assert row["by_features"]["dinov2"]["editability"] is None
    assert {"cmmd", "vendi", "diversity"} <= row["by_features"]["clip"]["class"].keys()
    alone = evaluate(finished, seen[:1], Options(**vars_of(options) | {"out": tmp_path}))
    assert alone["rows"][0]["editability"]["score"] is None
    assert "--features clip:FOLDER" in alone["rows"][0]["editability"]["why"]
    assert "nobody" in (tmp_path / "report.html").read_text()


def test_the_page_has_what_every_extractor_sees(
    finished: Path,
    measured: dict[str, Any],
    options: Options,
    tmp_path: Path,
) -> None:
    other = Means()
    other.name, other.digest = "others", "2" * 64
    evaluate(finished, [Means(), other], Options(**vars_of(options) | {"out": tmp_path}))
    page = (tmp_path / "report.html").read_text()
    assert "The same pictures, seen by others" in page
    for title in ("CMMD", "fidelity", "editability", "other nouns still read as such"):
        assert page.count(f"<td>{title}<") == 2


def test_nothing_is_claimed_of_an_imported_files_training(
    finished: Path, measured: dict[str, Any], options: Options, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("report*"))
    with (folder / "run.yaml").open("a") as file:
        file.write("imported: {file: cat.safetensors, form: kohya}\n")
    (row,) = evaluate(folder, [Means()], options)["rows"]
    assert (row["imported"], measured["rows"][0]["imported"]) == (True, False)
    page, other = ((place / "report.html").read_text() for place in (folder, finished))
    unknown = ("prior and steps unknown", "Whether its training used these edits is unknown")
    known = ("steps of stage 2", "Edits that no training prompt contains", "learned from</b>")
    assert all(words in page and words not in other for words in unknown)
    assert all(words in other and words not in page for words in known)


def test_another_version_of_the_page_is_written(
    finished: Path,
    measured: dict[str, Any],
    options: Options,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "report.html").write_text("as it was before, by textreg evaluate")
    assert evaluate(folder, [Means()], options)["digest"] == measured["digest"]
    assert (folder / "report.html").read_text() == "as it was before, by textreg evaluate"
    monkeypatch.setattr("textreg.evaluate.report.VERSION", -1)
    again = evaluate(folder, [Means()], options)
    assert again["rows"] == measured["rows"]
    assert "<!doctype html>" in (folder / "report.html").read_text()


def test_folders_that_cannot_be_written_are_known_at_once(
    finished: Path, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is drawn: those of the report and of what the steps keep."""
    monkeypatch.setattr(model_pair, "load", lambda *_, **__: pytest.fail("loaded"))
    folder = tmp_path / "run"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("eval*", "report*"))
    (tmp_path / "file").touch()
    given = Options(**vars_of(options) | {"out": tmp_path / "file"})
    with pytest.raises(UserError, match=r"^--out .*/file: cannot be written"):
        evaluate(folder, [Means()], given)
    (folder / "evaluation").touch()
    with pytest.raises(UserError, match=r"run/evaluation: cannot be written"):
        evaluate(folder, [Means()], options)


def vars_of(options: Options) -> dict[str, Any]:
    return {name: getattr(options, name) for name in Options.__dataclass_fields__}


def test_killed_in_the_middle_it_goes_on(
    finished: Path,
    measured: dict[str, Any],
    options: Options,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("eval*", "report*"))
    drawn: list[int] = []

    def stop_at(last: int) -> Any:
        def tell(step: str, done: int, total: int) -> None:
            if step == "drawing":
                drawn.append(done)
                if done == last:
                    raise KeyboardInterrupt

        return tell

    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path / "run", [Means()], options, tell=stop_at(21))
    assert not (tmp_path / "run" / "report.json").exists()
    again = evaluate(tmp_path / "run", [Means()], options, tell=stop_at(-1))
    total = len(list((tmp_path / "run/evaluation/pictures").iterdir()))
    # Each picture was drawn exactly once, 21 before the kill.
    assert drawn == list(range(1, total + 1))
    assert again["rows"][0]["drift"]["epsilon"] == measured["rows"][0]["drift"]["epsilon"]


def test_a_run_of_another_base_of_the_same_shapes(
    finished: Path,
    measured: dict[str, Any],
    options: Options,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_pair, "load", lambda *_, **__: pytest.fail("loaded"))
    other = shutil.copytree(tiny_base, tmp_path / "other")
    changed = Options(**vars_of(options) | {"base": str(other), "out": tmp_path / "out"})
    # A copy elsewhere is the same base, of which everything is there.
    assert evaluate(finished, [Means()], changed)["rows"] == measured["rows"]
    weights = other / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match=r"run: was trained on the base .*tiny.*other is now anoth"):
        evaluate(finished, [Means()], changed)


def test_an_adapter_of_other_shapes(
    finished: Path, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without a base on record, as imported files are, is held against the shapes."""
    from textreg.backbone import load

    monkeypatch.setattr(model_pair, "load", load)
    folder = tmp_path / "run"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("eval*", "report*"))
    record = (folder / "run.yaml").read_text()
    (folder / "run.yaml").write_text(re.sub(r"base_digest: .*\n", "", record))
    base = write_base(tmp_path / "base")
    config = json.loads((base / "unet" / "config.json").read_text())
    from diffusers import UNet2DConditionModel

    config["block_out_channels"] = [16, 48]
    UNet2DConditionModel.from_config(config).save_pretrained(base / "unet")
    with pytest.raises(UserError, match="does not fit the base"):
        evaluate(folder, [Means()], Options(**vars_of(options) | {"base": str(base)}))


def test_pictures_that_are_gone_or_others(
    finished: Path, options: Options, tmp_path: Path, dog_pictures: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("report*"))
    record = (folder / "run.yaml").read_text()
    line = next(line for line in record.splitlines() if "images: /" in line)
    (folder / "run.yaml").write_text(record.replace(line, line[: line.index("/")] + "/gone/cat"))
    with pytest.raises(UserError, match=r"/gone/cat: the photos .* are gone; .*--images"):
        evaluate(folder, [Means()], options)
    with pytest.raises(UserError, match=r"holds other photos than cat was learned from"):
        evaluate(folder, [Means()], Options(**vars_of(options) | {"images": dog_pictures}))


def test_bad_input_is_refused_before_anything_slow(
    finished: Path,
    options: Options,
    tmp_path: Path,
    cat_pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_pair, "load", lambda *_, **__: pytest.fail("loaded"))
    changed = vars_of(options)
    with pytest.raises(UserError, match="is no run's folder"):
        evaluate(cat_pictures, [Means()], options)
    with pytest.raises(UserError, match="--num-images is 1"):
        evaluate(finished, [Means()], Options(**changed | {"num_images": 1}))
    with pytest.raises(UserError, match="--epsilon-prompts is 0; it must be at least 1"):
        Options(epsilon_prompts=0)
    with pytest.raises(UserError, match="means is given twice"):
        evaluate(finished, [Means(), Means()], options)
    small, other = Means(), Means()
    small.side = 64  # type: ignore[assignment]
    with pytest.raises(UserError, match="reads pictures of 64 pixels, and this base draws 32"):
        evaluate(finished, [small], options)
    other.attributes = {"tint": ("blue",)}  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"cannot read tint: red.*it knows blue"):
        evaluate(finished, [other], options)
    with pytest.raises(UserError, match="no --features: nothing could look"):
        evaluate(finished, [], options)
    with pytest.raises(UserError, match=r"^--steps is 5000; this base has 1000 at most"):
        evaluate(finished, [Means()], Options(**changed | {"steps": 5000}))
    many = tmp_path / "many.yaml"
    many.write_text(QUESTIONS.replace("steps: 1", "steps: 5000"))
    with pytest.raises(UserError, match=r"^steps, of --prompts .*, is 5000; this base has 1000"):
        evaluate(finished, [Means()], Options(**changed | {"prompts": many}))
    for name in ("report.json", "report.html"):
        place = tmp_path / name.replace(".", "-")
        place.mkdir()
        (place / name).write_text("{}")
        with pytest.raises(UserError, match=rf"{name}: was made by something else"):
            evaluate(finished, [Means()], Options(**changed | {"out": place}))
        assert [path.read_text() for path in place.iterdir()] == ["{}"]


def test_an_edit_that_cuts_the_word_off(
    finished: Path, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known before the base's pictures of it are drawn."""
    monkeypatch.setattr(evaluation, "draw", lambda *_: pytest.fail("drawn"))
    long = tmp_path / "long.yaml"
    long.write_text(f"edits: ['{'a photo of the ' * 40}{{}}']\nsteps: 1\n")
    with pytest.raises(UserError, match="cut off"):
        evaluate(finished, [Means()], Options(**vars_of(options) | {"prompts": long}))


def test_whole_guidance_has_one_name() -> None:
    """Typed as 4 or 4.0, or written in a file."""
    asked = Questions(neighbours=(), general=(), edits=(), guidance=4.0)
    drawn = [evaluation.sampling_of(Options(guidance=g), asked).guidance for g in (4, 4.0, None)]
    assert [repr(guidance) for guidance in drawn] == ["4", "4", "4"]
    assert evaluation.sampling_of(Options(guidance=4.5), asked).guidance == 4.5


def test_a_base_of_one_file_is_named_by_it(
    finished: Path,
    options: Options,
    measured: dict[str, Any],
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its folder tells others nothing, as with a base that is a folder."""
    file, of = tmp_path / "base.safetensors", model_pair.BaseFiles.of
    file.touch()
    monkeypatch.setattr(model_pair.BaseFiles, "of", lambda *_: of(str(tiny_base)))
    elsewhere = {"base": str(file), "out": tmp_path / "out"}
    found = evaluate(finished, [Means()], Options(**vars_of(options) | elsewhere))
    assert found["base"] == "base.safetensors"
    assert str(tmp_path) not in (tmp_path / "out" / "report.html").read_text()


def test_what_no_extractor_reads_is_said() -> None:
    """Editability, and why; and nouns, of which Toyland's judge alone knows some."""
    subject: Any = SimpleNamespace(
        run=SimpleNamespace(prior="none", seed=0),
        concept=SimpleNamespace(name="cat", noun="cat", identifier="<krk1>"),
        steps=3,
        imported=False,
        metrics=list,
    )
    seen: dict[str, Any] = {"fidelity": {}, "editability": None, "class": {}, "neighbour": {}}
    for attributes, why in (
        (True, "no edit says what it shows; add shows: to those of --prompts"),
        (False, "no extractor reads prompts or attributes; add --features clip:FOLDER"),
    ):
        row = report_row(subject, {"means": seen}, {}, {}, {}, attributes=attributes)
        assert unread(row) == [
            f"cat: editability: {why}",
            "cat: pictures still read as such, of cat and of other nouns: means does not read "
            "these nouns",
        ]
    read = seen | {"editability": {"score": 1.0}, "class": {"judged": {}}}
    row = report_row(subject, {"means": read}, {}, {}, {}, attributes=True)
    (line,) = unread(row)
    assert line.startswith("cat: pictures still read as such, of other nouns: ")


def test_a_run_that_is_not_finished(finished: Path, options: Options, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("pytorch_lora*"))
    with pytest.raises(UserError, match="not finished, it has no pytorch_lora_weights"):
        evaluate(folder, [Means()], options)
