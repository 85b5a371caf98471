"""A trained concept of each family: plain diffusers draws our pictures, every program its files."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from family_setting import (
    Loaded,
    family_run,
    load_word,
    plain_pipeline,
    plain_prediction,
    random_adapter,
)
from textreg.adapter import Adapter
from textreg.adapter.about import Facts
from textreg.adapter.export import export
from textreg.config import Inversion, Tuning
from textreg.learning import learn
from textreg.sampling import PictureModel, sample, scheduler_of
from tiny_run import loud_edit

# diffusers 0.42 and numpy 2 (2026-11); its Euler schedulers read a tensor as an array.
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    ),
]
PROMPT = "a photo of a <krk1> cat in the dog"
SIDE, STEPS, GUIDANCE = 32, 3, 5.0


@pytest.fixture(scope="module")
def trained_of(
    base_of: Callable[[str], Path],
    in_float32: Loaded,
    cat_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """A finished run, its edit and word then made so large that they decide the picture."""

    @cache
    def trained(family: str) -> Path:
        out = tmp_path_factory.mktemp(family) / "run"
        run = family_run(base_of(family), out, cat_pictures, card_pictures=0)
        learn(run, backbone=in_float32(family))
        adapter = Adapter.load(out)
        replace(adapter, factors=loud_edit(adapter), vector=20 * adapter.vector).save(out)
        return out

    return trained


@pytest.fixture
def trained(family: str, trained_of: Callable[[str], Path]) -> Path:
    return trained_of(family)


def draw(model: PictureModel, prompt: str, seed: int) -> np.ndarray:
    options = {"steps": STEPS, "guidance": GUIDANCE, "resolution": SIDE}
    picture = next(sample(model, [prompt], seeds=[seed], **options))  # type: ignore[arg-type]
    return np.asarray(picture.image).astype(int)


def test_plain_diffusers_draws_the_same_picture(
    family: str, base_of: Callable[[str], Path], in_float32: Loaded, trained: Path
) -> None:
    backbone = in_float32(family)
    pipe = plain_pipeline(base_of(family))
    pipe.load_lora_weights(trained)
    load_word(pipe, trained)
    pipe.scheduler = scheduler_of(backbone, "ddim")
    theirs = pipe(
        PROMPT,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        height=SIDE,
        width=SIDE,
        generator=[torch.Generator().manual_seed(7)],
    ).images[0]
    model = PictureModel(backbone, Adapter.load(trained))
    ours = draw(model, PROMPT, 7)
    assert np.abs(ours - np.asarray(theirs).astype(int)).max() <= 2
    # The edit and the word both matter, or the comparison would say little.
    plain = draw(PictureModel(backbone), PROMPT.replace("<krk1> ", ""), 7)
    assert np.abs(ours - plain).mean() > 4
    assert model.adapter is not None
    other = replace(model.adapter, vector=torch.zeros_like(model.adapter.vector))
    assert np.abs(ours - draw(PictureModel(backbone, other), PROMPT, 7)).max() > 8


@pytest.mark.slow
def test_a_word_of_several_vectors_has_as_many_in_both_text_encoders(
    base_of: Callable[[str], Path], in_float32: Loaded, cat_pictures: Path, tmp_path: Path
) -> None:
    backbone, out = in_float32("tiny-sdxl"), tmp_path / "run"
    learn(
        family_run(
            base_of("tiny-sdxl"),
            out,
            cat_pictures,
            inversion=Inversion(steps=1, vectors=2),
            tuning=Tuning(steps=1, rank=2),
            card_pictures=0,
        ),
        backbone=backbone,
    )
    adapter = Adapter.load(out)
    random = torch.Generator().manual_seed(2)
    adapter = replace(adapter, vector=torch.randn(adapter.vector.shape, generator=random))
    adapter.save(out)
    pipe = plain_pipeline(base_of("tiny-sdxl"))
    load_word(pipe, out)
    theirs, _, pooled, _ = pipe.encode_prompt(
        PROMPT, device="cpu", do_classifier_free_guidance=False
    )
    model = PictureModel(backbone, adapter)
    vector = adapter.vector[None]
    ours = backbone.encode(model.tokens([PROMPT]), vector, torch.tensor([False]))
    torch.testing.assert_close(ours.tokens, theirs, rtol=0, atol=2e-6)
    torch.testing.assert_close(ours.pooled, pooled, rtol=0, atol=2e-6)


def test_every_program_reads_the_same_and_so_do_we(
    family: str, in_float32: Loaded, trained: Path, tmp_path: Path
) -> None:
    """Each file by each program's rules; then ours again, out of diffusers' and of kohya's form."""
    adapter = Adapter.load(trained)
    rows = export(
        adapter, tmp_path, ("diffusers", "kohya", "a1111", "comfyui"), Facts(base="a base")
    )
    assert len(rows) == 10
    assert all(row.difference is not None and row.difference < 1e-6 for row in rows)
    for file in (tmp_path, tmp_path / "webui" / "krk1_lora.safetensors"):
        again = Adapter.load(file)
        assert again.vector.equal(adapter.vector)
        assert again.second_width == in_float32(family).second_width
        assert again.factors.keys() == adapter.factors.keys()
        for name, (down, up) in adapter.factors.items():
            assert again.factors[name][0].equal(down)
            assert again.factors[name][1].equal(up)


def test_plain_diffusers_takes_the_web_interfaces_lora_as_well(
    family: str, base_of: Callable[[str], Path], trained: Path, tmp_path: Path
) -> None:
    adapter = Adapter.load(trained)
    export(adapter, tmp_path, ("kohya",), Facts(base="a base"))
    pipe = plain_pipeline(base_of(family))
    pipe.load_lora_weights(tmp_path / "webui", weight_name="krk1_lora.safetensors")
    found = {
        name: module.get_delta_weight(module.active_adapters[0])
        for name, module in pipe.unet.named_modules()
        if getattr(module, "lora_A", None)
    }
    assert found.keys() == adapter.factors.keys()
    for name, (down, up) in adapter.factors.items():
        torch.testing.assert_close(found[name], up @ down, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["webui/krk1_lora", "pytorch_lora_weights"])
def test_an_edit_of_all_of_attention_means_the_same_to_plain_diffusers(
    file: str, base_of: Callable[[str], Path], in_float32: Loaded, tmp_path: Path
) -> None:
    """Under Stable Diffusion XL's block numbers as well."""
    backbone = in_float32("tiny-sdxl")
    adapter = random_adapter(backbone, size=0.05)
    random = torch.Generator().manual_seed(5)
    elsewhere = {
        name: (torch.randn(2, i, generator=random), torch.randn(o, 2, generator=random) / 20)
        for name, (o, i) in backbone.projections.elsewhere.items()
    }
    adapter = replace(adapter, factors=adapter.factors | elsewhere)
    export(adapter, tmp_path, ("diffusers", "kohya", "comfyui"), Facts(base="a base"))
    pipe = plain_pipeline(base_of("tiny-sdxl"))
    path = tmp_path / f"{file}.safetensors"
    pipe.load_lora_weights(path.parent, weight_name=path.name)
    x_t = torch.randn(2, 4, 8, 8, generator=random)
    t, prompts = torch.tensor([20, 700]), ["a photo of a cat", "the dog"]
    with torch.no_grad():
        theirs = plain_prediction(pipe, prompts, x_t, t)
    model, base = PictureModel(backbone, Adapter.load(path)), PictureModel(backbone)
    ours = model.predict(x_t, t, model.conditioning(prompts))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(theirs.abs().max()))
    moved = ours - base.predict(x_t, t, base.conditioning(prompts))
    assert moved.abs().max() > 0.05 * theirs.abs().max()
