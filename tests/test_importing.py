"""Any file becomes a run's folder that the other verbs take, and comes out of it as it went in."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from textreg.adapter import Adapter
from textreg.adapter.about import Facts
from textreg.adapter.export import TARGETS, export
from textreg.adapter.reading import Told
from textreg.backbone import Backbone
from textreg.class_residual import class_residual
from textreg.cli import main
from textreg.concept_texts import ConceptTexts
from textreg.config import Concept, TextReg
from textreg.errors import UserError
from textreg.importing import import_file
from textreg.method.text_projections import TextProjections
from textreg.method.text_regularizer import ProjectOut, pinned_basis
from textreg.png_file import publish_png
from textreg.prompts import class_prompts
from textreg.run_record import read_record
from textreg.settings import run_from


@pytest.fixture(scope="module")
def adapter(backbone: Backbone) -> Adapter:
    """Of the tiny base; every number exact in fp16."""
    random = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randint(-64, 65, shape, generator=random) / 64

    projections = backbone.projections
    return Adapter(
        identifier="<krk1>",
        noun="cat",
        learnable_property="object",
        vector=numbers(projections.features),
        factors={
            name: (numbers(2, projections.features), numbers(width, 2))
            for name, width in zip(projections.names, projections.widths, strict=True)
        },
        alpha=2.0,
        digest="d1",
    )


@pytest.fixture(scope="module")
def exported(adapter: Adapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export(adapter, folder, TARGETS, Facts(base="tiny"), text_layers=2)
    return folder


FILES = {
    "diffusers": "pytorch_lora_weights.safetensors",
    "kohya": "webui/krk1_lora.safetensors",
    "legacy": "lora_weight.safetensors",
}


@pytest.mark.parametrize("form", FILES)
def test_a_run_made_of_a_file_holds_the_same_bytes(
    form: str, adapter: Adapter, exported: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """The run's own two files are those that training would have left."""
    out = tmp_path / "run"
    _, found = import_file(exported / FILES[form], out, Told(), base=str(tiny_base))
    assert found == form
    for name in ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors"):
        assert (out / name).read_bytes() == (exported / name).read_bytes()
    record = read_record(out)
    assert record["imported"] == {"file": Path(FILES[form]).name, "form": form}
    run = run_from(record["run"], out)
    assert (run.base, run.prior, run.total_steps) == (str(tiny_base), "none", 0)
    assert run.concepts[0].words == "<krk1> cat"


def test_the_verbs_take_it_and_give_the_file_back(
    exported: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, given = tmp_path / "run", exported / FILES["kohya"]
    assert main(["import", str(given), "--base", str(tiny_base), "--out", str(run)]) == 0
    assert '"<krk1> cat", rank 2, of a file in the form of kohya' in capsys.readouterr().out
    assert main(["export", str(run), "--to", "kohya,legacy"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["file", "opened", "by", "largest", "difference", "type", "there"]
    assert [line.split()[:2] for line in table[2:]] == [
        ["webui/krk1_lora.safetensors", "sd-scripts"],
        ["webui/krk1.safetensors", "sd-scripts"],
        ["lora_weight.safetensors", "original"],
    ]
    ours, theirs = load_file(run / FILES["kohya"]), load_file(given)
    assert ours.keys() == theirs.keys()
    assert all(ours[key].equal(theirs[key]) for key in theirs)
    words = ["--prompt", "a <krk1> cat", "--num-images", "1", "--steps", "1"]
    assert main(["sample", str(run), *words, "--out", str(tmp_path / "pictures")]) == 0
    assert len(list((tmp_path / "pictures").glob("0*.png"))) == 1


def test_a_strangers_files_need_to_be_told_what_they_are(
    adapter: Adapter, exported: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """kohya's own: no textreg.* in the metadata, the word in a file of its own."""
    lora = tmp_path / "lora" / "cat.safetensors"
    lora.parent.mkdir()
    save_file(load_file(exported / FILES["kohya"]), lora)
    word = tmp_path / "word.safetensors"
    save_file({"emb_params": adapter.vector[None]}, word)
    told = Told(embedding=word)
    out = tmp_path / "run"
    for missing, more in (
        ("--identifier", {"identifier": "<krk1>"}),
        ("--noun", {"noun": "cat"}),
    ):
        with pytest.raises(UserError, match=missing):
            import_file(lora, out, told, base=str(tiny_base))
        assert not out.exists()
        told = replace(told, **more)
    import_file(lora, out, told, base=str(tiny_base))
    found = Adapter.load(out)
    assert found.vector.equal(adapter.vector)
    assert all(
        found.factors[name][side].equal(adapter.factors[name][side])
        for name in adapter.factors
        for side in (0, 1)
    )


@pytest.mark.parametrize(
    ("told", "base", "said"),
    [
        (Told(identifier="cat"), None, "already a token"),
        (Told(identifier="<Krk1>"), None, "not lower case"),
        (Told(identifier="two words"), None, "one word without blanks"),
        (Told(), "toyland", "belongs to another base"),
        (Told(), "nowhere", "no base 'nowhere'"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    told: Told, base: str | None, said: str, exported: Path, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        import_file(exported / FILES["legacy"], tmp_path / "run", told, base=base or str(tiny_base))
    assert not (tmp_path / "run").exists()


def test_nothing_of_theirs_is_overwritten(exported: Path, tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is there already and not empty"):
        import_file(exported, tmp_path, Told(), base=str(tiny_base))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("export {run} --to kohia", "--to 'kohia': known are diffusers, kohya, a1111"),
        ("export {run} --to ,", "--to names no program"),
        ("export {exported}", "is no run's folder; textreg import makes one"),
        ("export {exported}/nowhere", "is no run's folder"),
        ("import {exported}/nowhere --out {run}2", "no such file"),
        (
            "import {exported}/webui/krk1.safetensors --out {run}2",
            "A word's file goes to --embedding",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    words: str, said: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.yaml").write_text("run: {}\n")
    assert main(words.format(run=run, exported=exported).split(" ")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert {p.name for p in run.iterdir()} == {"run.yaml"}


def test_the_residual_is_that_of_a_naive_loop(adapter: Adapter, backbone: Backbone) -> None:
    """And 0 where the class prompts' directions are projected out, until fp16 rounds them."""
    concept = Concept(images=Path("cat"), noun="cat")
    settings = TextReg(class_templates="one")
    texts = ConceptTexts.of(concept, backbone)
    prompts = class_prompts(concept, settings)
    features = [texts.features([prompt], None)[0].double() for prompt in prompts]
    weights = dict(
        zip(
            backbone.projections.names,
            backbone.projections.weight.split(backbone.projections.widths),
            strict=True,
        )
    )
    moved = base = 0.0
    for c in features:
        for name, (down, up) in adapter.factors.items():
            moved += float((c @ (up @ down).double().T).square().sum())
            base += float((c @ weights[name].double().T).square().sum())
    found = class_residual(adapter, concept, settings, backbone)
    assert found == pytest.approx((moved / base) ** 0.5, rel=1e-5)
    pinned = _pinned(adapter, backbone.projections, torch.stack(features).float())
    assert class_residual(pinned, concept, settings, backbone) < 1e-6 * found
    halved = replace(
        pinned,
        factors={n: (a.half().float(), b.half().float()) for n, (a, b) in pinned.factors.items()},
    )
    assert 1e-5 * found < class_residual(halved, concept, settings, backbone) < 1e-2 * found


def _pinned(adapter: Adapter, projections: TextProjections, features: torch.Tensor) -> Adapter:
    edit = projections.new_edit(adapter.rank)
    edit.load_factors(0, [adapter.factors[name] for name in projections.names])
    ProjectOut([pinned_basis(features)])(edit)
    return replace(adapter, factors=dict(zip(projections.names, edit.factors(0), strict=True)))


def test_a_hard_run_says_what_fp16_costs(
    exported: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    import_file(exported, run, Told(), base=str(tiny_base))
    record = read_record(run)
    record["run"] |= {"prior": "textreg", "textreg": {"hard": True, "class_templates": "one"}}
    (run / "run.yaml").write_text(yaml.safe_dump(record))
    assert main(["export", str(run), "--to", "diffusers", "--dtype", "fp16"]) == 0
    assert "hard mode in fp16: the edit moves keys and values" in capsys.readouterr().out
    # The run's own files stay float32.
    assert load_file(run / FILES["diffusers"]).popitem()[1].dtype == torch.float32
    assert load_file(run / "fp16" / FILES["diffusers"]).popitem()[1].dtype == torch.float16
    assert main(["export", str(run), "--to", "diffusers"]) == 0
    assert "hard mode" not in capsys.readouterr().out


def test_an_export_elsewhere_brings_the_model_card(
    exported: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the run's pictures, no names of records that stay behind; nothing is overwritten."""
    run, out = tmp_path / "run", tmp_path / "upload"
    import_file(exported, run, Told(), base=str(tiny_base))
    assert main(["export", str(run), "--to", "diffusers", "--out", str(tmp_path / "bare")]) == 0
    assert not (tmp_path / "bare" / "README.md").exists()
    record = read_record(run)
    record["run"]["tuning"]["steps"] = 7
    (run / "run.yaml").write_text(yaml.safe_dump(record))
    publish_png(run / "image_0.png", Image.new("RGB", (8, 8), "red"))
    command = ["export", str(run), "--to", "diffusers", "--out", str(out)]
    assert main(command) == 0
    assert (out / "image_0.png").read_bytes() == (run / "image_0.png").read_bytes()
    card = (out / "README.md").read_text()
    assert "![a photo of a <krk1> cat](image_0.png)" in card
    assert "0 + 7 steps" in card
    assert "run.yaml" not in card
    assert str(tmp_path) not in card
    (out / "README.md").write_text("mine")
    capsys.readouterr()
    assert main(command) == 0
    assert f"{out / 'README.md'}: is there already" in capsys.readouterr().out
    assert (out / "README.md").read_text() == "mine"
