"""Training of the base's picture autoencoder, and the training set as latents."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from .group_norm import use_plain_group_norm, use_quick_group_norm
from .training import Training, half_precision
from .world import SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from diffusers import AutoencoderKL

    from .dataset import Pictures
    from .presets import Preset


def build_autoencoder(preset: Preset) -> AutoencoderKL:
    """Return an untrained autoencoder: 64 x 64 pixels to 4 x 16 x 16 latents."""
    from diffusers import AutoencoderKL

    widths = preset.autoencoder_widths
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIDE,
        mid_block_add_attention=False,
    )


def to_tensor(pixels: object, device: str) -> Tensor:
    """Turn uint8 pictures [n, side, side, 3] into floats [n, 3, side, side] in -1..1."""
    picture = torch.as_tensor(pixels).to(device).permute(0, 3, 1, 2)
    return picture.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


def _edges(picture: Tensor) -> tuple[Tensor, Tensor]:
    return picture[..., 1:, :] - picture[..., :-1, :], picture[..., 1:] - picture[..., :-1]


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the distance of pictures: absolute, squared, and of their edges.

    The squared error asks for right colours, the edges for crisp outlines; both [n, 3, h, w].
    """
    near = functional.l1_loss(output, target) + 2 * functional.mse_loss(output, target)
    pairs = zip(_edges(output), _edges(target), strict=True)
    return near + 0.5 * torch.stack([functional.l1_loss(a, b) for a, b in pairs]).sum()


def train_autoencoder(
    folder: Path, pictures: Pictures, preset: Preset, device: str
) -> AutoencoderKL:
    """Train, or go on training, and return the averaged autoencoder with its scaling factor."""
    torch.manual_seed(0)
    model = build_autoencoder(preset).to(memory_format=torch.channels_last)
    training = Training(
        folder,
        "autoencoder",
        {"autoencoder": model},
        steps=preset.autoencoder_steps,
        peak=2e-3,
        device=device,
        weight_decay=1e-4,
        cooldown=0.4,
        average=0.998,
    )
    use_quick_group_norm(model)
    while not training.done:
        random = Random(f"autoencoder/{training.step}")
        chosen = random.sample(range(len(pictures)), preset.autoencoder_batch)
        target = to_tensor(pictures.pixels(chosen), device)
        with half_precision(device):
            latent = model.encode(target).latent_dist
            output = model.decode(latent.sample()).sample
        output = output.float()
        training.update(
            {
                "reconstruction": reconstruction_loss(output, target),
                "divergence": 1e-6 * latent.kl().mean(),
            }
        )
    use_plain_group_norm(model)
    training.averaged()
    _measure(model, pictures, training, device)
    return model


@torch.no_grad()
def _measure(model: AutoencoderKL, pictures: Pictures, training: Training, device: str) -> None:
    """Set the scaling factor so that latents have unit variance, and note the fidelity."""
    target = to_tensor(
        pictures.pixels(range(0, len(pictures), max(1, len(pictures) // 512))), device
    )
    latent = model.encode(target).latent_dist.mean
    model.register_to_config(scaling_factor=round(1 / latent.std().item(), 5))
    error = functional.mse_loss(model.decode(latent).sample.clamp(-1, 1), target)
    decibel = 10 * math.log10(4 / error.item())
    training.note({"part": "autoencoder", "peak_signal_to_noise_decibel": round(decibel, 2)})


@torch.no_grad()
def encode_pictures(
    model: AutoencoderKL, pictures: Pictures, indices: Sequence[int], device: str
) -> Tensor:
    """Return scaled latents [n, 4, 16, 16] in half precision, the posterior's mean of each."""
    rows = []
    for start in range(0, len(indices), 250):
        batch = to_tensor(pictures.pixels(indices[start : start + 250]), device)
        with half_precision(device):
            latent = model.encode(batch).latent_dist.mean
        rows.append((latent.float() * model.config.scaling_factor).half().cpu())
    return torch.cat(rows)
