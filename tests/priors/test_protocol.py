"""What holds for every prior: names, combinations, exact resume, many concepts, one file each."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import textreg.priors
from prior_setup import draws, set_up
from textreg.backbone import Backbone
from textreg.cli import main
from textreg.concept_texts import ConceptTexts
from textreg.config import ClassImages, Images, Inversion, Run, TextReg, Tuning
from textreg.errors import UserError
from textreg.priors import names, prior_of, split
from textreg.prompts import class_prompts
from textreg.trainer import trainings
from tiny_run import assert_same_edit, results, tiny_run, train, train_some

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
FEW = ClassImages(count=2, steps=1)
ALL = "textreg+context+weight-decay+class-images+output-preservation"
TERMS = {"class_prior", "edit_prior", "context", "weight_decay", "class_images"}
TERMS |= {"output_preservation", "denoising", "total"}


def a_run(base: Path, out: Path, *pictures: Path, **changes: Any) -> Run:
    options: dict[str, Any] = {
        "images": Images(resolution=32, views=2),
        "class_images": ClassImages(count=3, steps=2),
    }
    return tiny_run(base, out, *pictures, **(options | changes))


def test_the_names_are_the_files() -> None:
    assert names() == [
        "class-images",
        "context",
        "gated",
        "none",
        "output-preservation",
        "textreg",
        "weight-decay",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("textrag", "no prior 'textrag'; did you mean textreg"),
        ("x", "known: class-images, context, gated"),
        ("", "known: class-images"),
        ("textreg+contxt", "did you mean context"),
        ("textreg+textreg", "name each prior once, and none alone"),
        ("none+textreg", "name each prior once, and none alone"),
        ("gated+textreg", "beside gated only weight-decay"),
        ("class-images+gated", "beside gated only weight-decay"),
    ],
)
def test_a_wrong_prior_is_one_line(
    text: str, said: str, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"--prior {re.escape(text)}: .*{re.escape(said)}"):
        split(text)
    run = tiny_run(tiny_base, tmp_path / "run", cat_pictures, prior=text)
    with pytest.raises(UserError, match=re.escape(said)):
        next(trainings(run))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("prior", [ALL, "gated+weight-decay"])
def test_a_resumed_run_is_bit_identical(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path, prior: str
) -> None:
    straight = a_run(tiny_base, tmp_path / "straight", cat_pictures, prior=prior, save_steps=2)
    train(straight, backbone)
    stopped = replace(straight, out=tmp_path / "stopped")
    for _ in range(2):
        train_some(stopped, backbone, 2)
    train(stopped, backbone)
    assert results(stopped.out) == results(straight.out)
    last = json.loads((straight.out / "metrics.jsonl").read_text().splitlines()[-1])
    found = set(last["losses"])
    assert found == (TERMS if prior == ALL else {"denoising", "weight_decay", "total"})


def test_concepts_in_one_batch_are_each_alone(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, dog_pictures: Path, tmp_path: Path
) -> None:
    """With every prior at once, in float64 (see test_trainer.py for the bound)."""
    options: dict[str, Any] = {"dtype": "fp64", "prior": ALL, "class_images": FEW}
    options |= {"inversion": Inversion(steps=1), "tuning": Tuning(steps=2, rank=2)}
    both = a_run(tiny_base, tmp_path / "both", cat_pictures, dog_pictures, **options)
    taken = list(trainings(both, backbone64))
    for n, concept in enumerate(both.concepts):
        single = replace(both, concepts=(concept,), out=tmp_path / f"alone{n}")
        alone = list(trainings(single, backbone64))
        for (_, together), (_, (own,)) in zip(taken, alone, strict=True):
            assert together[n].losses == pytest.approx(own.losses, rel=1e-8)
        here, there = taken[-1][0].adapters()[n], alone[-1][0].adapters()[0]
        assert_same_edit(here, there, atol=1e-10)


def test_a_combination_has_the_terms_of_its_parts(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path
) -> None:
    parts = ["textreg", "context", "weight-decay"]
    together, own = {}, draws(7, samples=2)
    for name in ["+".join(parts), *parts]:
        run = tiny_run(tiny_base, Path(), cat_pictures, prior=name)
        prior, _, _ = set_up(run, backbone64)
        together[name] = {k: (v.weight, v.value.item()) for k, v in prior.penalties(own).items()}
    whole = together.pop("+".join(parts))
    assert whole == {k: v for terms in together.values() for k, v in terms.items()}
    assert len(whole) == 4


def test_hard_mode_stays_exact_beside_others(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(
        tiny_base,
        tmp_path,
        cat_pictures,
        prior="weight-decay+textreg+context",
        textreg=TextReg(hard=True, class_templates="one"),
        dtype="fp64",
        tuning=Tuning(steps=4, rank=4, learning_rate=0.05),
    )
    edit = train(run, backbone64).edits.text
    texts = ConceptTexts.of(run.concepts[0], backbone64)
    pinned = texts.features(class_prompts(texts.concept, run.textreg), None)
    free = texts.features(["a dog in the photo"], None)
    assert max(float(e.detach().abs().max()) for e in edit(pinned[None])) < 1e-12
    assert max(float(e.detach().abs().max()) for e in edit(free[None])) > 1e-3


def test_the_documented_prior_is_a_file_and_nothing_else(
    backbone64: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The example of docs/priors.md, put into a folder of priors and named on the command line."""
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/priors.md").read_text(), re.S)
    assert len(program.splitlines()) < 40
    (tmp_path / "priors").mkdir()
    (tmp_path / "priors" / "value_decay.py").write_text(program)
    here = [*textreg.priors.__path__, str(tmp_path / "priors")]
    monkeypatch.setattr(textreg.priors, "__path__", here)
    try:
        assert "value-decay" in names()
        out = tmp_path / "run"
        words = ["train", str(cat_pictures), "--base", str(tiny_base), "--out", str(out)]
        words += ["--prior", "value-decay", "--inversion-steps", "1", "--tuning-steps", "2"]
        (tmp_path / "settings.yaml").write_text("card_pictures: 0")
        words += ["--config", str(tmp_path / "settings.yaml")]
        assert main(words) == 0
        last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["losses"]
        assert last["value_decay"] > 0
        assert last["total"] == pytest.approx(last["denoising"] + 0.003 * last["value_decay"])
        run = tiny_run(tiny_base, Path(), cat_pictures, prior="value-decay")
        prior, projections, _ = set_up(run, backbone64)
        assert projections.edit is not None
        values = projections.edit.factors(0)[1::2]
        wanted = sum((up @ down).square().sum().item() for down, up in values)
        found = prior.penalties(draws(0))["value_decay"].value.item()
        assert found == pytest.approx(wanted, rel=1e-12)
    finally:
        sys.modules.pop("textreg.priors.value_decay", None)
    monkeypatch.undo()
    with pytest.raises(UserError, match="no prior 'value-decay'"):
        prior_of(run)
