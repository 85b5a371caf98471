"""Training of the base's picture autoencoder, and the training set as latents."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from .group_norm import use_plain_group_norm, use_quick_group_norm
from .training import Training, half_precision
from .world import SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .dataset import Pictures
    from .presets import Preset


def build_autoencoder(preset: Preset) -> Any:
    """Return an untrained autoencoder: 64 x 64 pixels to 4 x 16 x 16 latents."""
    from diffusers import AutoencoderKL

    widths: Any = preset.autoencoder_widths
    ends: Any = [(f"{name}Block2D",) * len(widths) for name in ("DownEncoder", "UpDecoder")]
    return AutoencoderKL(
        down_block_types=ends[0],
        up_block_types=ends[1],
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
    """Return the distance of pictures: absolute, squared, of their edges and of their areas.

    The squared error asks for right colours, the edges for crisp outlines, the means over 4 x 4
    pixels for the hue of pale areas, as in sketches; both pictures are [n, 3, h, w].
    """
    near = functional.l1_loss(output, target) + 2 * functional.mse_loss(output, target)
    pairs = zip(_edges(output), _edges(target), strict=True)
    edges = torch.stack([functional.l1_loss(a, b) for a, b in pairs]).sum()
    areas = functional.l1_loss(functional.avg_pool2d(output, 4), functional.avg_pool2d(target, 4))
    return near + 0.5 * edges + areas


def train_autoencoder(folder: Path, pictures: Pictures, preset: Preset, device: str) -> Any:
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
def _measure(
    model: Any, pictures: Pictures, training: Training, device: str, rescale: bool = True
) -> None:
    """Note the fidelity, and set the scaling factor so that latents have unit variance."""
    target = to_tensor(
        pictures.pixels(range(0, len(pictures), max(1, len(pictures) // 512))), device
    )
    latent = model.encode(target).latent_dist.mean
    if rescale:
        model.register_to_config(scaling_factor=round(1 / latent.std().item(), 5))
    error = functional.mse_loss(model.decode(latent).sample.clamp(-1, 1), target)
    decibel = 10 * math.log10(4 / error.item())
    training.note({"part": training.name, "peak_signal_to_noise_decibel": round(decibel, 2)})


@torch.no_grad()
def encode_pictures(model: Any, pictures: Pictures, indices: Sequence[int], device: str) -> Tensor:
    """Return scaled latents [n, 4, 16, 16] in half precision, the posterior's mean of each."""
    rows = []
    for start in range(0, len(indices), 250):
        batch = to_tensor(pictures.pixels(indices[start : start + 250]), device)
        with half_precision(device):
            latent = model.encode(batch).latent_dist.mean
        rows.append((latent.float() * model.config.scaling_factor).half().cpu().contiguous())
    return torch.cat(rows)


def refine_decoder(
    folder: Path, model: Any, pictures: Pictures, latents: Tensor, preset: Preset, device: str
) -> Any:
    """Train the decoder further on fixed latents, and return the autoencoder.

    What the encoder says no longer changes, so the denoiser that was trained on it stays valid.
    A little noise on the latents makes the decoder forgive what a denoiser gets wrong.
    """
    model.requires_grad_(False)
    model.to(memory_format=torch.channels_last)
    decoder = torch.nn.ModuleList([model.post_quant_conv, model.decoder]).requires_grad_(True)
    training = Training(
        folder,
        "decoder",
        {"decoder": decoder},
        steps=preset.decoder_steps,
        peak=1e-3,
        device=device,
        weight_decay=1e-4,
        cooldown=0.6,
        average=0.998,
    )
    use_quick_group_norm(model)
    while not training.done:
        random = Random(f"decoder/{training.step}")
        generator = torch.Generator().manual_seed(training.step)
        chosen = random.sample(range(len(pictures)), preset.autoencoder_batch)
        clean = latents[chosen].float()
        noisy = clean + 0.03 * torch.randn(clean.shape, generator=generator)
        noisy = (noisy / model.config.scaling_factor).to(device)
        with half_precision(device):
            output = model.decode(noisy.contiguous(memory_format=torch.channels_last)).sample
        target = to_tensor(pictures.pixels(chosen), device)
        output = output.float()
        training.update({"reconstruction": reconstruction_loss(output, target)})
    use_plain_group_norm(model)
    training.averaged()
    _measure(model, pictures, training, device, rescale=False)
    return model
