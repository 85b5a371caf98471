"""The base, bit for bit, without the identifier; the gate in training, on disk and in pictures."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from prior_setup import draws
from textreg.adapter import Adapter
from textreg.adapter.about import Facts
from textreg.adapter.export import TARGETS, export
from textreg.backbone import Backbone
from textreg.concept_texts import ConceptTexts
from textreg.config import Tuning
from textreg.errors import UserError
from textreg.sampling import PictureModel, sample
from textreg.trainer import steps
from tiny_run import tiny_run, train


@pytest.fixture(scope="module")
def gated(
    backbone64: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run in float64, at a rate that moves the edit far."""
    out = tmp_path_factory.mktemp("gated") / "run"
    tuning = Tuning(steps=10, rank=4, learning_rate=0.05)
    run = tiny_run(tiny_base, out, cat_pictures, prior="gated", dtype="fp64", tuning=tuning)
    records = list(steps(run, backbone64))
    assert records[-1].drift == {"class": 0, "neighbour": 0, "general": 0, "null": 0}
    return out


@pytest.mark.parametrize("prompt", ["", "a photo of a cat", "a dog in the photo"])
def test_without_the_identifier_it_is_the_base(
    gated: Path, backbone64: Backbone, prompt: str
) -> None:
    model, base = PictureModel(backbone64, Adapter.load(gated)), PictureModel(backbone64)
    both = (m.conditioning([prompt]).keys_values for m in (model, base))
    for ours, theirs in zip(*both, strict=True):
        assert torch.equal(ours, theirs)
    drawn = [
        next(sample(m, [prompt], seeds=[7], steps=3, guidance=7.5, resolution=16)).image.tobytes()
        for m in (model, base)
    ]
    assert drawn[0] == drawn[1]


def test_with_the_identifier_only_its_row_moves(gated: Path, backbone64: Backbone) -> None:
    adapter = Adapter.load(gated)
    model = PictureModel(backbone64, adapter)
    free = PictureModel(backbone64, replace(adapter, edited_tokens="all"))
    bare = PictureModel(backbone64, replace(adapter, factors={
        name: (down, 0 * up) for name, (down, up) in adapter.factors.items()
    }))  # fmt: skip
    prompt = "a photo of a <krk1> cat"
    place = model.tokens([prompt]).is_identifier[0]
    assert int(place.sum()) == 1
    every = zip(*(m.conditioning([prompt]).keys_values for m in (model, free, bare)), strict=True)
    for ours, ungated, base in every:
        assert torch.equal(ours[0, ~place], base[0, ~place])
        assert torch.equal(ours[0, place], ungated[0, place])
        assert not torch.allclose(ours[0, place], base[0, place])
        assert not torch.allclose(ungated[0, ~place], base[0, ~place])


def test_training_sees_the_same_gate(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(tiny_base, tmp_path, cat_pictures, prior="gated", dtype="fp64")
    training = train(run, backbone64)
    own = draws(0, samples=5)
    features, gate = training.stage.features(own).tokens, training.stage.gate(own)
    assert gate is not None
    texts = ConceptTexts.of(run.concepts[0], backbone64)
    word = training.inversion.vectors.detach()[0]
    prompt = "a photo of a <krk1> cat"
    wanted = texts.features([prompt], word)[0]
    where = texts.tokens([prompt]).is_identifier[0]
    position = int(where.nonzero())
    # Slow: W c_j + g_j dW c_j, token by token.
    given = training.projections(wanted[None, None], where[None, None])
    weights = training.projections.weight.split(training.projections.widths)
    for m, (down, up) in enumerate(training.edits.text.factors(0)):
        for j, c in enumerate(wanted):
            slow = weights[m] @ c + (j == position) * (up @ (down @ c))
            torch.testing.assert_close(given[m][0, j], slow, rtol=1e-12, atol=1e-14)
    assert gate.shape == features.shape[:3]
    assert (gate.sum(-1) == 1).all()


def test_the_files_say_so_and_other_programs_find_nothing(gated: Path, tmp_path: Path) -> None:
    assert not (gated / "pytorch_lora_weights.safetensors").exists()
    with safe_open(gated / "gated_lora_weights.safetensors", framework="pt") as file:
        assert file.metadata()["textreg.edited_tokens"] == "identifier"
    adapter = Adapter.load(gated)
    assert adapter.edited_tokens == "identifier"
    for target in TARGETS:
        with pytest.raises(UserError, match="not written; its edit is gated"):
            export(adapter, tmp_path, (target,), Facts(base="tiny"))
    assert not any(tmp_path.iterdir())
