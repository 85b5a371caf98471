"""How good the base is: samples of held-out prompts, and real renders, read by the judge."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from textreg.checkpoint import publish
from textreg.errors import UserError
from textreg.evaluate.distances import kid, vendi
from textreg.writable_folder import open_folder

from .attribute_judge import Judge
from .attributes import HEADS, Picture, numbered_picture
from .captions import plain_prompt
from .world import render

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from diffusers import StableDiffusionPipeline

SCORED = {
    "class": "noun",
    "colour": "colour",
    "scene": "scene",
    "accessory": "accessory",
    "style": "style",
}
"""Names in the report -> names of the judge's heads."""

FIRST_SEED = 1_000_000
"""Score pictures are counted from here, so that no training run's numbers come near."""


def load_pipeline(folder: Path, device: str = "cpu") -> StableDiffusionPipeline:
    """Load a base folder in single precision, with plain attention and no progress bar."""
    from diffusers import StableDiffusionPipeline
    from diffusers.models.attention_processor import AttnProcessor

    pipeline = StableDiffusionPipeline.from_pretrained(str(folder), local_files_only=True)
    pipeline.unet.set_attn_processor(AttnProcessor())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def draw_samples(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    *,
    seed: int = 0,
    steps: int = 25,
    guidance: float = 4.0,
    batch: int = 32,
) -> Tensor:
    """Draw one picture a prompt; picture i depends on its prompt and on seed + i only.

    Returns:
        floats [n, 3, 64, 64] in 0..1 on the CPU.
    """
    pictures = []
    for start in range(0, len(prompts), batch):
        texts = list(prompts[start : start + batch])
        generators = [torch.Generator().manual_seed(seed + start + k) for k in range(len(texts))]
        drawn = pipeline(
            texts,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generators,
            output_type="pt",
        )
        pictures.append(drawn.images.float().cpu())  # type: ignore[union-attr]
        done = start + len(texts)
        if len(prompts) > batch:
            print(f"sampling {done}/{len(prompts)}", file=sys.stderr, flush=True)
    return torch.cat(pictures)


def render_tensor(pictures: Sequence[Picture]) -> Tensor:
    """Render pictures as floats [n, 3, 64, 64] in 0..1."""
    pixels = np.stack([np.asarray(render(picture)) for picture in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def shares_right(
    judge: Judge, images: Tensor, pictures: Sequence[Picture], stated: Sequence[frozenset[str]]
) -> dict[str, float]:
    """Return the share of right readings by attribute; only what a prompt states is counted.

    "all" is the share of pictures whose stated attributes are all read right.
    """
    labels = torch.tensor([picture.labels() for picture in pictures])
    read = judge.read(images)
    heads = list(HEADS)
    every = torch.ones(len(pictures), dtype=torch.bool)
    shares = {}
    for name, head in SCORED.items():
        asked = torch.tensor([head in attributes for attributes in stated])
        right = read[head].argmax(1).cpu() == labels[:, heads.index(head)]
        every &= right | ~asked
        shares[name] = round(right[asked].float().mean().item(), 4) if asked.any() else 1.0
    return {**shares, "all": round(every.float().mean().item(), 4)}


def score(
    num_images: int = 256,
    seed: int = 0,
    json_path: Path | None = None,
    *,
    base: Path | None = None,
    judge: Judge | None = None,
    device: str = "cpu",
) -> dict[str, dict[str, float]]:
    """Score the embedded base, or one in a folder, on prompts held out of its training.

    Args:
        num_images: samples, and as many real renders of the same pictures.
        seed: chooses prompts and noise.
        json_path: where the result goes, if anywhere.
        base: folder of another base.
        judge: another judge.
        device: "cpu" or "cuda".

    Returns:
        {"samples": shares, "renders": shares}, each of class, colour, scene, accessory, style, all;
        "kid": kernel distance of the samples to the renders, in the judge's features, and its
        "floor", that of other renders of the same prompts; "vendi": how many different pictures
        samples and renders amount to.

    Raises:
        UserError: fewer than two images, or no place for the result.
    """
    from . import path

    if num_images < 2:
        raise UserError(f"--num-images is {num_images}; a score needs at least 2")
    if json_path is not None:
        open_folder(json_path.resolve().parent, "--json ")
    judge = judge or Judge.load()
    first = FIRST_SEED * (seed + 1)
    pictures = [numbered_picture("evaluate", first + k) for k in range(num_images)]
    prompts = [plain_prompt(picture) for picture in pictures]
    stated = [prompt.stated for prompt in prompts]
    samples = draw_samples(
        load_pipeline(base or path(), device), [prompt.text for prompt in prompts], seed=first
    )
    renders = render_tensor(pictures)
    # The same words, another individual, place and layout.
    others = render_tensor([replace(p, shape=p.shape + 1, seed=p.seed + 1) for p in pictures])
    drawn, real, again = (judge.features(images).double() for images in (samples, renders, others))
    once = torch.ones(1, num_images, dtype=torch.float64)
    result = {
        "samples": shares_right(judge, samples, pictures, stated),
        "renders": shares_right(judge, renders, pictures, stated),
        "kid": {
            "samples": kid(drawn, real, once, once).item(),
            "floor": kid(again, real, once, once).item(),
        },
        "vendi": {
            "samples": vendi(drawn, once).item(),
            "renders": vendi(real, once).item(),
        },
    }
    if json_path is not None:
        publish(json_path, (json.dumps(result, indent=2) + "\n").encode())
    return result
