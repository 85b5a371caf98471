"""Prompts to pictures, with or without a learned concept; one seed a picture.

Keys and values are computed once a prompt, not once a denoising step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from textreg.adapter import Adapter
from textreg.backbone import Backbone, fresh_tokenizer
from textreg.base_shape import check_resolution, check_steps, fitted
from textreg.concept_texts import ConceptTexts
from textreg.config import Concept
from textreg.edits import Edits
from textreg.errors import UserError
from textreg.method.attention_edit import placement_of
from textreg.method.denoiser import Conditioning, freeze
from textreg.method.text_features import TextFeatures, Tokens, tokenize
from textreg.method.token_gate import token_gate
from textreg.out_of_memory import memory_of

_NOWHERE = Path()
_LESS = "a lower --resolution, --batch-size 1 (of sample and evaluate) or --dtype fp16"
Sampler = Literal["ddim", "dpm", "euler", "euler-ancestral"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A sampled picture and what to type to get it again."""

    prompt: str
    seed: int
    image: Image.Image


class PictureModel:
    """A base with at most one learned concept, ready to sample."""

    def __init__(self, backbone: Backbone, adapter: Adapter | None = None):
        self.backbone, self.adapter = backbone, adapter
        self.projections = backbone.projections
        self._tokenizer = fresh_tokenizer(backbone)
        self._identifier_id: int | None = None
        self._vector: Tensor | None = None
        if adapter is not None:
            self._put_in(adapter)

    def _put_in(self, adapter: Adapter) -> None:
        backbone = self.backbone
        factors = fitted(adapter, self.projections, backbone.source)
        concept = Concept(
            images=_NOWHERE, noun=adapter.noun or "thing", identifier=adapter.identifier
        )
        texts = ConceptTexts.of(concept, backbone, vectors=adapter.num_vectors)
        self._tokenizer, self._identifier_id = texts.tokenizer, texts.identifier_id
        self._vector = adapter.vector.to(backbone.device, backbone.wide)
        scale = adapter.alpha / adapter.rank
        edits = Edits.of(
            self.projections,
            placement_of(factors),
            adapter.rank,
            scale=scale,
            encoder_rank=adapter.encoder_rank,
        )
        # B is taken with the scale multiplied in.
        scaled = {name: (down, scale * up) for name, (down, up) in factors.items()}
        edits.load(0, self.projections.names, scaled)
        self.projections = edits.put_in(backbone.projections)
        freeze(self.projections)

    def tokens(self, prompts: Sequence[str]) -> Tokens:
        """Tokenise prompts as this model reads them.

        Raises:
            UserError: the identifier is cut off.
        """
        noun = self.adapter.noun if self.adapter else ""
        vectors = self.adapter.num_vectors if self.adapter else 1
        try:
            return tokenize(self._tokenizer, list(prompts), self._identifier_id, noun, vectors)
        except ValueError as error:
            raise UserError(str(error)) from None

    def encode(self, tokens: Tokens, vectors: Tensor | None, masked: Tensor) -> TextFeatures:
        """Text features as this model's text encoder gives them; as the backbone's `encode`."""
        encoder = self.projections.encoder
        edit = None if encoder is None else encoder.of([0])
        return self.backbone.encode(tokens, vectors, masked, edit)

    @torch.no_grad()
    def conditioning(self, prompts: Sequence[str]) -> Conditioning:
        """What the denoiser hears of prompts, read without any mask."""
        tokens = self.tokens(prompts)
        count = len(prompts)
        vectors = None if self._vector is None else self._vector.expand(count, -1)
        no_mask = torch.zeros(count, dtype=torch.bool)
        features = self.encode(tokens, vectors, no_mask)
        edited = "all" if self.adapter is None else self.adapter.edited_tokens
        gate = token_gate(edited, tokens.is_identifier)
        keys_values = self.projections(features.tokens[None], None if gate is None else gate[None])
        return Conditioning(keys_values=keys_values, pooled=features.pooled)

    @torch.no_grad()
    def predict(self, x_t: Tensor, t: Tensor, heard: Conditioning) -> Tensor:
        """The denoiser's prediction, in the type of x_t."""
        attention = self.projections.attention
        edit = None if attention is None else attention.of([0])
        prediction = self.backbone.denoiser(x_t, t, heard.keys_values, heard.pooled, edit)
        return prediction.to(x_t.dtype)


def sample(
    model: PictureModel,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    steps: int = 25,
    guidance: float = 5.0,
    sampler: Sampler = "ddim",
    negative_prompt: str = "",
    resolution: int | None = None,
    batch_size: int = 4,
) -> Iterator[Picture]:
    """Sample one picture a prompt and seed, in order.

    Picture i starts from the noise torch.Generator("cpu").manual_seed(seeds[i]) gives, so plain
    diffusers with that generator, prompt and sampler draws the same one.

    Args:
        model: the base, or the base with a concept.
        prompts: one a picture.
        seeds: one a picture.
        steps: denoising steps.
        guidance: classifier-free guidance scale; 1 switches it off.
        sampler: the noise schedule's solver.
        negative_prompt: what to guide away from.
        resolution: side in pixels; none: the base's own.
        batch_size: pictures at once.

    Raises:
        UserError: a resolution the base cannot draw, or an identifier cut off.
    """
    backbone = model.backbone
    side = backbone.resolution if resolution is None else resolution
    check_resolution(side, backbone.factor)
    # All prompts are read before anything slow.
    model.tokens([*dict.fromkeys(prompts), negative_prompt])
    for start in range(0, len(prompts), batch_size):
        batch = list(prompts[start : start + batch_size])
        batch_seeds = list(seeds[start : start + batch_size])
        x_0 = sample_latents(
            model,
            batch,
            batch_seeds,
            side // backbone.factor,
            steps,
            guidance,
            scheduler_of(backbone, sampler),
            negative_prompt,
        )
        for prompt, seed, image in zip(batch, batch_seeds, decode(backbone, x_0), strict=True):
            yield Picture(prompt=prompt, seed=seed, image=image)


@memory_of("drawing pictures", _LESS)
@torch.no_grad()
def sample_latents(
    model: PictureModel,
    prompts: list[str],
    seeds: list[int],
    side: int,
    steps: int,
    guidance: float,
    scheduler: Any,
    negative_prompt: str,
) -> Tensor:
    """The clean latents of one batch."""
    backbone = model.backbone
    guided = guidance != 1
    words = [*prompts, *[negative_prompt] * len(prompts)] if guided else prompts
    heard = _once_a_prompt(model, words)
    if guided and not negative_prompt and backbone.files.silent_without_negative:
        heard = heard.silent_from(len(prompts))
    random = [torch.Generator().manual_seed(seed) for seed in seeds]
    channels = backbone.denoiser.unet.config.in_channels
    x_t = torch.stack([torch.randn(channels, side, side, generator=g) for g in random])
    check_steps(steps, scheduler.config.num_train_timesteps)
    scheduler.set_timesteps(steps, device=backbone.device)
    x_t = x_t.to(backbone.device, backbone.wide) * scheduler.init_noise_sigma
    noisy = scheduler.__class__.__name__ == "EulerAncestralDiscreteScheduler"
    extra: dict[str, Any] = {"generator": random} if noisy else {}
    for t in scheduler.timesteps:
        given = scheduler.scale_model_input(x_t, t)
        given = torch.cat([given, given]) if guided else given
        prediction = model.predict(given, t.expand(len(given)), heard)
        if guided:
            wanted, unwanted = prediction.chunk(2)
            prediction = unwanted + guidance * (wanted - unwanted)
        x_t = scheduler.step(prediction, t, x_t, return_dict=False, **extra)[0]
    return x_t


def _once_a_prompt(model: PictureModel, prompts: list[str]) -> Conditioning:
    """What is heard of a batch in which prompts repeat; each prompt is computed once."""
    distinct = list(dict.fromkeys(prompts))
    rows = torch.tensor([distinct.index(p) for p in prompts], device=model.backbone.device)
    return model.conditioning(distinct)[rows]


@memory_of("decoding pictures", _LESS)
@torch.no_grad()
def decode(backbone: Backbone, latents: Tensor) -> list[Image.Image]:
    """Clean latents to pictures."""
    pixels = backbone.vae.decode(latents / backbone.vae.config.scaling_factor).sample
    array = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(a) for a in array.permute(0, 2, 3, 1).cpu().numpy()]


def scheduler_of(backbone: Backbone, sampler: Sampler) -> Any:
    """A diffusers scheduler over the base's own noise schedule."""
    from diffusers import (
        DDIMScheduler,
        DPMSolverMultistepScheduler,
        EulerAncestralDiscreteScheduler,
        EulerDiscreteScheduler,
    )

    kind = {
        "ddim": DDIMScheduler,
        "dpm": DPMSolverMultistepScheduler,
        "euler": EulerDiscreteScheduler,
        "euler-ancestral": EulerAncestralDiscreteScheduler,
    }[sampler]
    config = {k: v for k, v in backbone.scheduler.config.items() if not k.startswith("_")}
    return kind.from_config(config)
