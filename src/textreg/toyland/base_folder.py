"""The base as a Stable Diffusion folder that diffusers loads like any other."""

from __future__ import annotations

import shutil
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch

from .denoiser import build_scheduler

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

SHARD_SIZE = "12MB"
"""Largest weights file; repositories and reviewers like small ones."""


def write_base(
    folder: Path,
    tokenizer: CLIPTokenizer,
    encoder: CLIPTextModel,
    autoencoder: AutoencoderKL,
    denoiser: UNet2DConditionModel,
) -> None:
    """Write the base in half precision; an older one is replaced only when the new is whole.

    Files of the old folder that the new one does not have (a model card) are kept.
    """
    from diffusers import StableDiffusionPipeline

    fresh = folder.with_name(f".{folder.name}-fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    parts: list[Any] = [_half_copy(part) for part in (autoencoder, encoder, denoiser)]
    pipeline = StableDiffusionPipeline(
        vae=parts[0],
        text_encoder=parts[1],
        tokenizer=tokenizer,
        unet=parts[2],
        scheduler=build_scheduler(),  # type: ignore[arg-type]
        safety_checker=None,  # type: ignore[arg-type]
        feature_extractor=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(fresh, max_shard_size=SHARD_SIZE)
    # transformers loads in the precision that the config names, diffusers in single precision:
    # named so, the parts fit together when nobody asks for a precision.
    config = fresh / "text_encoder" / "config.json"
    config.write_text(config.read_text().replace('"dtype": "float16"', '"dtype": "float32"'))
    if folder.exists():
        for path in folder.iterdir():
            if path.is_file() and not (fresh / path.name).exists():
                shutil.copy2(path, fresh / path.name)
        old = folder.with_name(f".{folder.name}-old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(folder)


def _half_copy(model: Any) -> Any:
    return deepcopy(model).to("cpu", torch.float16).eval()
