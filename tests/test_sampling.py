"""Our pictures are plain diffusers' pictures; a batch is each picture alone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.errors import UserError
from textreg.sampling import PictureModel, Sampler, sample, scheduler_of
from tiny_run import loud_edit, tiny_run, train

# diffusers 0.42 and numpy 2 (2026-11); its Euler schedulers read a tensor as an array.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)

STEPS, GUIDANCE, SIDE = 4, 5.0, 16
PROMPT = "a photo of a <krk1> cat in the dog"


def draw(model: PictureModel, prompt: str, seed: int, **changes: Any) -> Image.Image:
    options = {"steps": STEPS, "guidance": GUIDANCE, "resolution": SIDE} | changes
    return next(sample(model, [prompt], seeds=[seed], **options)).image


def difference(one: Image.Image, other: Image.Image) -> np.ndarray:
    return np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int))


@pytest.fixture(scope="module")
def trained(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A trained run's folder, its edit and word then made so large that they decide the picture."""
    out = tmp_path_factory.mktemp("trained") / "run"
    train(tiny_run(tiny_base, out, cat_pictures), backbone)
    adapter = Adapter.load(out)
    replace(adapter, factors=loud_edit(adapter), vector=20 * adapter.vector).save(out)
    return out


@pytest.fixture(scope="module")
def pipeline(tiny_base: Path, trained: Path) -> Iterator[Any]:
    """Plain diffusers, with the two lines that users paste."""
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(trained)
    pipe.load_textual_inversion(trained)
    return pipe


@pytest.mark.parametrize("sampler", ["ddim", "dpm", "euler", "euler-ancestral"])
def test_plain_diffusers_draws_the_same_picture(
    backbone: Backbone, trained: Path, pipeline: Any, sampler: Sampler
) -> None:
    model = PictureModel(backbone, Adapter.load(trained))
    ours = draw(model, PROMPT, 7, sampler=sampler)
    pipeline.scheduler = scheduler_of(backbone, sampler)
    theirs = pipeline(
        PROMPT,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        height=SIDE,
        width=SIDE,
        generator=[torch.Generator().manual_seed(7)],
    ).images[0]
    assert difference(ours, theirs).max() <= 2
    # The edit and the word both matter, or the comparison would say little.
    plain = draw(PictureModel(backbone), PROMPT.replace("<krk1> ", ""), 7, sampler=sampler)
    assert difference(ours, plain).mean() > 4
    other_word = replace(model.adapter, vector=torch.zeros(64))  # type: ignore[type-var]
    wordless = draw(PictureModel(backbone, other_word), PROMPT, 7, sampler=sampler)
    assert difference(ours, wordless).max() > 8


def test_a_negative_prompt_and_no_guidance_are_diffusers_too(
    backbone: Backbone, trained: Path, pipeline: Any
) -> None:
    model = PictureModel(backbone, Adapter.load(trained))
    pipeline.scheduler = scheduler_of(backbone, "ddim")
    for changes, options in (
        ({"negative_prompt": "a <krk1> cat"}, {"negative_prompt": "a <krk1> cat"}),
        ({"guidance": 1.0}, {"guidance_scale": 1.0}),
    ):
        given = {"guidance_scale": GUIDANCE, "height": SIDE, "width": SIDE} | options
        theirs = pipeline(
            PROMPT,
            num_inference_steps=STEPS,
            generator=[torch.Generator().manual_seed(3)],
            **given,
        ).images[0]
        assert difference(draw(model, PROMPT, 3, **changes), theirs).max() <= 2


@pytest.mark.parametrize("sampler", ["dpm", "euler-ancestral"])
def test_a_batch_is_each_picture_alone(
    backbone64: Backbone, trained: Path, sampler: Sampler
) -> None:
    model = PictureModel(backbone64, Adapter.load(trained))
    prompts = [PROMPT, "a dog", PROMPT, "", "a <krk1> cat"]
    together = sample(
        model,
        prompts,
        seeds=range(5),
        steps=STEPS,
        resolution=SIDE,
        sampler=sampler,
        batch_size=3,
    )
    for n, picture in enumerate(together):
        assert (picture.prompt, picture.seed) == (prompts[n], n)
        alone = draw(model, prompts[n], n, sampler=sampler)
        assert difference(picture.image, alone).max() <= 1


def test_the_base_alone_draws_plain_prompts(backbone: Backbone, tiny_base: Path) -> None:
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = scheduler_of(backbone, "ddim")
    theirs = pipe(
        "a photo of a dog",
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        height=SIDE,
        width=SIDE,
        generator=[torch.Generator().manual_seed(1)],
    ).images[0]
    ours = draw(PictureModel(backbone), "a photo of a dog", 1)
    assert difference(ours, theirs).max() <= 2


def test_alpha_and_rank_scale_the_edit(backbone: Backbone, trained: Path) -> None:
    adapter = Adapter.load(trained)
    halved = {name: (down, up / 2) for name, (down, up) in adapter.factors.items()}
    same = replace(adapter, factors=halved, alpha=2 * adapter.alpha)
    pictures = [draw(PictureModel(backbone, a), PROMPT, 0) for a in (adapter, same)]
    assert difference(*pictures).max() <= 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"resolution": 20}, "--resolution 20: this base needs a multiple of 16"),
        ({"prompts": ["a " * 22 + "<krk1> cat"]}, "'<krk1>' is cut off"),
        ({"negative_prompt": "a " * 22 + "<krk1> cat"}, "'<krk1>' is cut off"),
    ],
)
def test_what_cannot_be_drawn_is_refused_first(
    backbone: Backbone, trained: Path, changes: dict[str, Any], why: str
) -> None:
    model = PictureModel(backbone, Adapter.load(trained))
    with pytest.raises(UserError, match=why):
        next(sample(model, changes.pop("prompts", ["a cat"]), seeds=[0], **changes))


def test_an_adapter_of_another_base_is_refused(backbone: Backbone, trained: Path) -> None:
    adapter = Adapter.load(trained)
    with pytest.raises(UserError, match=r"word has 32 numbers, the base .* reads 64"):
        PictureModel(backbone, replace(adapter, vector=torch.zeros(32)))
    first, *_ = adapter.factors
    fewer = {k: v for k, v in adapter.factors.items() if k != first}
    with pytest.raises(UserError, match=f"does not fit the base .* at {first}"):
        PictureModel(backbone, replace(adapter, factors=fewer))
    down, up = adapter.factors[first]
    wider = adapter.factors | {first: (down, torch.cat([up, up]))}
    with pytest.raises(UserError, match=f"does not fit the base .* at {first}"):
        PictureModel(backbone, replace(adapter, factors=wider))
    with pytest.raises(UserError, match="already a token"):
        PictureModel(backbone, replace(adapter, identifier="cat"))
