"""Training of the base's denoiser: a small UNet on latents and captions, v-prediction."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from .captions import write_caption
from .group_norm import use_plain_group_norm, use_quick_group_norm
from .training import Training, half_precision
from .vocabulary import MAX_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from diffusers import DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTokenizer

    from .dataset import Pictures
    from .presets import Preset

EMPTY_SHARE = 0.1
"""Share of empty prompts, for classifier-free guidance."""


def build_scheduler() -> DDIMScheduler:
    """Return the noise schedule of Stable Diffusion, with v-prediction."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def build_denoiser(preset: Preset) -> Any:
    """Return an untrained UNet: latents [4, 16, 16], text [24, text_width].

    Cross-attention stands where it is cheap and where nouns are decided: at 8 x 8 and 4 x 4.
    """
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor

    model = UNet2DConditionModel(
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=preset.denoiser_widths,
        layers_per_block=1,
        norm_num_groups=16,
        attention_head_dim=4,
        cross_attention_dim=preset.text_width,
    )
    # At these sizes the fused attention of a CPU is slower in bf16 than plain matrix products.
    model.set_attn_processor(AttnProcessor())
    return model


def draw_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Draw timesteps in 0..999, half of them uniform, half nearer the middle."""
    uniform = torch.rand(count, generator=generator)
    middle = torch.randn(count, generator=generator).sigmoid()
    chosen = torch.where(torch.rand(count, generator=generator) < 0.5, uniform, middle)
    return (chosen * 1000).long().clamp(0, 999)


@torch.no_grad()
def encode_prompts(texts: list[str], tokenizer: CLIPTokenizer, encoder: Any, device: str) -> Tensor:
    """Return text features [n, 24, width], padded as the Stable Diffusion pipeline pads."""
    tokens = tokenizer(
        texts, padding="max_length", truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
    )
    return encoder(input_ids=tokens.input_ids.to(device)).last_hidden_state


def train_denoiser(
    folder: Path,
    pictures: Pictures,
    latents: Tensor,
    tokenizer: CLIPTokenizer,
    encoder: Any,
    preset: Preset,
    device: str,
    publish: Callable[[UNet2DConditionModel], None],
    publish_minutes: float = 10.0,
) -> UNet2DConditionModel:
    """Train, or go on training, and return the averaged denoiser.

    Args:
        folder: where checkpoints and figures lie.
        pictures: the training set, for its attributes.
        latents: the same pictures as scaled latents [n, 4, 16, 16].
        tokenizer: of the trained text encoder.
        encoder: the trained text encoder, frozen here.
        preset: sizes and steps.
        device: "cpu" or "cuda".
        publish: called with an averaged copy now and then.
        publish_minutes: how often.
    """
    torch.manual_seed(3)
    model: Any = build_denoiser(preset).to(memory_format=torch.channels_last)
    encoder = encoder.to(device).eval().requires_grad_(False)
    scheduler = build_scheduler()
    cumulative = scheduler.alphas_cumprod.to(device)
    training = Training(
        folder,
        "denoiser",
        {"denoiser": model},
        steps=preset.denoiser_steps,
        peak=1e-3,
        device=device,
        warmup=200,
        average=0.998,
    )
    published = time.monotonic()
    use_quick_group_norm(model)
    while not training.done:
        random = Random(f"denoiser/{training.step}")
        generator = torch.Generator().manual_seed(training.step)
        chosen = random.sample(range(len(pictures)), preset.denoiser_batch)
        texts = [
            ""
            if random.random() < EMPTY_SHARE
            else write_caption(pictures.attributes(i), random).text
            for i in chosen
        ]
        clean = latents[chosen].float()
        noise = torch.randn(clean.shape, generator=generator)
        t = draw_timesteps(len(chosen), generator)
        clean, noise, t = clean.to(device), noise.to(device), t.to(device)
        signal = cumulative[t].sqrt().view(-1, 1, 1, 1)
        spread = (1 - cumulative[t]).sqrt().view(-1, 1, 1, 1)
        noisy = (signal * clean + spread * noise).contiguous(memory_format=torch.channels_last)
        with half_precision(device):
            features = encode_prompts(texts, tokenizer, encoder, device)
            output = model(noisy, t, features, return_dict=False)[0]
        target = signal * noise - spread * clean
        training.update({"velocity": functional.mse_loss(output.float(), target)})
        if time.monotonic() - published > 60 * publish_minutes and not training.done:
            publish(averaged_copy(model, training, preset))
            published = time.monotonic()
    use_plain_group_norm(model)
    training.averaged()
    return model


def averaged_copy(
    model: UNet2DConditionModel, training: Training, preset: Preset
) -> UNet2DConditionModel:
    """Return a second UNet that holds the averaged weights; the one in training goes on."""
    copy = build_denoiser(preset)
    weights = dict(zip(training.weights, training.averages, strict=True))
    copy.load_state_dict({key.removeprefix("denoiser."): value for key, value in weights.items()})
    return copy.eval()
