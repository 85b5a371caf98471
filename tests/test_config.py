"""A run is one frozen value: what it refuses, what names it, what the presets are."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from textreg.config import (
    ClassImages,
    Concept,
    Context,
    Denoising,
    Images,
    Inversion,
    Mask,
    Optimizer,
    OutputPreservation,
    Run,
    TextReg,
    Tuning,
    WeightDecay,
    plain,
)
from textreg.errors import UserError
from textreg.presets import PRESETS
from textreg.settings import build_run, run_from

CAT = Concept(images=Path("data/cat"), noun="cat")
OUT = Path("runs/cat")
SECTIONS = (Concept, Images, Optimizer, Inversion, Tuning, Mask, TextReg, Run)
SECTIONS += (ClassImages, OutputPreservation, WeightDecay, Context, Denoising)


def a_run(**changes: Any) -> Run:
    return Run(**({"concepts": (CAT,), "out": OUT} | changes))


def test_defaults_are_golden() -> None:
    """METHOD 8; a preset is what differs; every number that decides a result."""
    run = plain(a_run())
    assert run["prior"] == "textreg"
    assert run["images"] == {
        "resolution": None,
        "center_crop": True,
        "flip": True,
        "jitter": True,
        "views": 8,
        "buckets": False,
        "masks": "beside",
        "captions": True,
        "templates": [],
    }
    assert run["optimizer"] == {
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "weight_decay": 1e-2,
        "batch_size": 1,
        "accumulation": 1,
        "name": "adamw",
        "prodigy_coefficient": 1.0,
    }
    assert run["inversion"] == {
        "steps": 500,
        "learning_rate": 5e-4,
        "warmup_steps": 0,
        "schedule": "constant",
        "initial_token": "ktn",
        "initialise_with_noun": False,
        "norm_pull": True,
        "vectors": 1,
        "embedding": None,
    }
    assert run["tuning"] == {
        "steps": 1500,
        "learning_rate": 4e-4,
        "warmup_steps": 0,
        "schedule": "constant",
        "rank": 10,
        "placement": "cross-kv",
        "text_encoder_rank": 0,
        "text_encoder_learning_rate": None,
        "max_grad_norm": 1.0,
        "ema_decay": None,
    }
    assert run["mask"] == {"ratio": 0.75, "in_tuning": True}
    assert run["textreg"] == {
        "class_weight": 0.01,
        "edit_weight": 0.1,
        "form": "norm",
        "hard": False,
        "null_prompt": True,
        "class_templates": "several",
        "class_prompts": [],
        "edit_prompts": "instance+training",
    }
    assert run["class_images"] == {
        "weight": 1.0,
        "count": 200,
        "steps": 50,
        "guidance": 5.0,
        "folder": None,
        "captions": None,
    }
    assert run["output_preservation"] == {"weight": 1.0}
    assert run["weight_decay"] == {"weight": 0.003, "form": "product"}
    assert run["denoising"] == {"snr_gamma": None, "noise_offset": 0.0}
    assert run["context"] == {"weight": 0.001}


def test_presets_are_golden() -> None:
    """The study's choice, and METHOD 4 and 8: what the published command really ran."""
    assert {name: preset() for name, preset in PRESETS.items()} == {
        "textreg": {
            "prior": "textreg+context",
            "textreg": {"hard": True, "edit_weight": 0.0},
        },
        "original": {
            "images": {"views": None},
            "tuning": {"max_grad_norm": 4.0},
            "mask": {"ratio": 0.5},
            "textreg": {
                "class_weight": 0.01,
                "edit_weight": 0.01,
                "null_prompt": False,
                "class_templates": "one",
                "edit_prompts": "instance",
            },
        },
    }


def test_the_original_preset_is_what_ran() -> None:
    flags = {"concepts": [{"images": "data/cat", "noun": "cat"}], "out": "o", "base": "b/c"}
    run = build_run(flags, preset="original")
    assert (run.inversion.steps, run.tuning.steps, run.total_steps) == (500, 1500, 2000)
    assert (run.tuning.learning_rate, run.optimizer.accumulation) == (4e-4, 1)
    assert run.images.views is None


@pytest.mark.parametrize("section", SECTIONS)
def test_sections_are_frozen_and_keyword_only(section: Any) -> None:
    fields = dataclasses.fields(section)
    assert all(field.kw_only for field in fields)
    assert "__slots__" in vars(section)
    value = a_run() if section is Run else CAT if section is Concept else section()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, fields[0].name, None)


def test_an_unknown_key_is_refused_at_every_level() -> None:
    """Walks the tree: a section added later is covered."""
    data = plain(a_run())

    def places(node: Any) -> list[dict[str, Any]]:
        if isinstance(node, dict):
            return [node, *(p for value in node.values() for p in places(value))]
        return [p for value in node for p in places(value)] if isinstance(node, list) else []

    assert len(places(data)) == len(SECTIONS)
    assert run_from(data, Path("f.yaml")) == a_run()
    for place in places(data):
        place["surprise"] = 1
        with pytest.raises(UserError, match=r"f\.yaml: unknown key (\w+\.)?surprise"):
            run_from(data, Path("f.yaml"))
        del place["surprise"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tuning": Tuning(rank=0)}, "--rank is 0; it must be at least 1"),
        ({"optimizer": Optimizer(batch_size=0)}, "optimizer.batch_size is 0"),
        ({"optimizer": Optimizer(accumulation=0)}, "optimizer.accumulation is 0"),
        ({"images": Images(views=0)}, "images.views is 0"),
        ({"images": Images(resolution=0)}, "--resolution is 0"),
        ({"save_steps": 0}, "save_steps is 0"),
        ({"class_images": ClassImages(count=0)}, "class_images.count is 0"),
        ({"class_images": ClassImages(steps=0)}, "class_images.steps is 0"),
        ({"class_images": ClassImages(weight=-1)}, "class_images.weight is -1"),
        ({"class_images": ClassImages(guidance=float("nan"))}, "class_images.guidance is nan"),
        (
            {"class_images": ClassImages(captions=Path("c.txt"))},
            "class_images.captions describes class_images.folder, which is not given",
        ),
        ({"output_preservation": OutputPreservation(weight=-1)}, "output_preservation.weight"),
        ({"weight_decay": WeightDecay(weight=-1)}, "weight_decay.weight is -1"),
        ({"denoising": Denoising(snr_gamma=0)}, "--snr is 0; gamma must be above 0"),
        ({"denoising": Denoising(snr_gamma=float("nan"))}, "--snr is nan"),
        ({"tuning": Tuning(ema_decay=1)}, "--ema is 1; a decay is between 0 and 1"),
        ({"tuning": Tuning(ema_decay=0)}, "--ema is 0"),
        ({"denoising": Denoising(noise_offset=-1)}, "--noise-offset is -1"),
        ({"context": Context(weight=-1)}, "context.weight is -1"),
        ({"inversion": Inversion(steps=-1)}, "--inversion-steps is -1"),
        ({"tuning": Tuning(steps=-1)}, "--tuning-steps is -1"),
        ({"tuning": Tuning(learning_rate=float("nan"))}, "tuning.learning_rate is nan"),
        ({"textreg": TextReg(edit_weight=-0.1)}, "textreg.edit_weight is -0.1"),
        ({"mask": Mask(ratio=1.5)}, "mask.ratio is 1.5; it is a share"),
        ({"mask": Mask(ratio=float("nan"))}, "mask.ratio is nan"),
        ({"concepts": ()}, "no concept"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**63}, "--seed is"),
        ({"textreg": TextReg(class_prompts=("a photo",))}, "must contain {} exactly once"),
        ({"concepts": (Concept(images=Path("c"), noun=" "),)}, "no class noun"),
        (
            {"concepts": (Concept(images=Path("c"), noun="cat", identifier="<KRK1>"),)},
            "use '<krk1>'",
        ),
        ({"concepts": (CAT, Concept(images=Path("dog"), noun="dog"))}, "share the identifier"),
        (
            {"concepts": (CAT, Concept(images=Path("b/cat"), noun="cat", identifier="<x>"))},
            "share the folder name 'cat'",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_flag(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        a_run(**changes)
    assert why in str(refusal.value)


def test_a_concepts_name_is_its_folders_and_never_leads_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cat" / "more").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "cat" / "more")
    for images, name in (("x/dog", "dog"), (".", "more"), ("..", "cat"), ("../../cat/..", "")):
        concept = Concept(images=Path(images), noun="cat")
        assert concept.name == (name or tmp_path.name)


def test_identity_is_what_decides_the_result() -> None:
    run = a_run()
    for same in (
        {"out": Path("elsewhere")},
        {"device": "cuda:1"},
        {"save_steps": 1},
        {"speed": "compile"},
        {"card_pictures": 0},
        {"concepts": (Concept(images=Path("/other/place/cat"), noun="cat"),)},
    ):
        assert a_run(**same).digest == run.digest, same
    for other in (
        {"seed": 1},
        {"base": "b"},
        {"prior": "none"},
        {"dtype": "bf16"},
        {"mask": Mask(in_tuning=False)},
        {"tuning": Tuning(learning_rate=1e-4)},
        {"concepts": (Concept(images=Path("data/dog"), noun="cat"),)},
        {"concepts": (Concept(images=Path("data/cat"), noun="dog"),)},
    ):
        assert a_run(**other).digest != run.digest, other


def test_identity_is_plain_data_without_a_path() -> None:
    run = a_run(concepts=(Concept(images=Path("/home/me/cat"), noun="cat"),))
    assert "/" not in json.dumps(run.identity())
