"""Training of the judge: on pictures the base never sees, blurred, noisy and off-colour."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from .attribute_judge import Judge, JudgeNetwork
from .attributes import HEADS
from .training import Training, half_precision

if TYPE_CHECKING:
    from pathlib import Path

    from .dataset import Pictures
    from .presets import Preset


def spoil(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, shift, tint and add noise to pictures [n, 3, h, w] in 0..1, each by its own amount.

    What a generated picture lacks in sharpness must not decide what the judge reads in it.
    """
    count, device = len(pictures), pictures.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(count, *shape, generator=generator).to(device)
        return low + (high - low) * draw

    dx, dy = (int(torch.randint(-3, 4, (), generator=generator)) for _ in range(2))
    out = functional.pad(pictures, (3, 3, 3, 3), mode="replicate")[
        ..., 3 + dy : 67 + dy, 3 + dx : 67 + dx
    ]
    small = functional.avg_pool2d(out, 2)
    blurred = functional.interpolate(small, scale_factor=2, mode="bilinear")
    out = torch.lerp(out, blurred, uniform(0, 1, 1, 1, 1))
    out = out * uniform(0.9, 1.1, 3, 1, 1) + uniform(-0.05, 0.05, 1, 1, 1)
    coarse = torch.randn(count, 3, 16, 16, generator=generator).to(device)
    coarse = functional.interpolate(coarse, scale_factor=4, mode="bilinear")
    out = out + coarse * uniform(0, 0.06, 1, 1, 1)
    fine = torch.randn(pictures.shape, generator=generator).to(device)
    return (out + fine * uniform(0, 0.04, 1, 1, 1)).clamp(0, 1)


def train_judge(folder: Path, pictures: Pictures, preset: Preset, device: str) -> Judge:
    """Train, or go on training, and return the averaged judge."""
    torch.manual_seed(2)
    network = JudgeNetwork(preset.judge_width)
    training = Training(
        folder,
        "judge",
        {"judge": network},
        steps=preset.judge_steps,
        peak=2e-3,
        device=device,
        average=0.99,
        weight_decay=0.02,
    )
    while not training.done:
        random = Random(f"judge/{training.step}")
        chosen = random.sample(range(len(pictures)), preset.judge_batch)
        labels = torch.tensor(
            [pictures.attributes(index).labels() for index in chosen], device=device
        )
        generator = torch.Generator().manual_seed(training.step)
        clean = (
            torch.as_tensor(pictures.pixels(chosen)).to(device).permute(0, 3, 1, 2).float() / 255
        )
        with half_precision(device):
            _, logits = network(spoil(clean, generator))
        losses = {
            head: functional.cross_entropy(logits[head].float(), labels[:, k])
            for k, head in enumerate(HEADS)
        }
        training.update(losses)
    training.averaged()
    return Judge(network)
