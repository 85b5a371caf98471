"""Training of the judge: on pictures the base never sees, blurred, noisy and off-colour.

First on pictures spoiled a little, then with half of each batch degraded as codecs do; last the
text half, on features that no longer change, and the temperatures.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from .attribute_judge import Judge, JudgeNetwork, TextNetwork
from .attributes import HEADS, numbered_picture
from .captions import vocabulary_corpus, write_caption
from .degradations import degrade
from .scoring import render_tensor
from .training import Training, half_precision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .dataset import Pictures
    from .presets import Preset


CALIBRATION_SEED = 50_000_000
"""First number of the pictures that temperatures are fitted on; no training comes near."""


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
    """Train, or go on training, and return the averaged and calibrated judge."""
    network = _train_network(folder, pictures, preset, device)
    harden(folder, pictures, network, preset, device)
    return finish(folder, pictures, network, preset, device)


def finish(
    folder: Path, pictures: Pictures, network: JudgeNetwork, preset: Preset, device: str
) -> Judge:
    """Train the text half for a network that is done, and calibrate."""
    text = _train_text(folder, pictures, network, preset, device)
    return Judge(network, text, _temperatures(network, preset.judge_batch * 40, device))


def _clean(pictures: Pictures, chosen: Sequence[int], device: str) -> Tensor:
    pixels = torch.as_tensor(pictures.pixels(chosen)).to(device)
    return pixels.permute(0, 3, 1, 2).float() / 255


def _train_network(folder: Path, pictures: Pictures, preset: Preset, device: str) -> JudgeNetwork:
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
    _fit(training, network, pictures, preset, degraded=0)
    return network


def harden(
    folder: Path, pictures: Pictures, network: JudgeNetwork, preset: Preset, device: str
) -> None:
    """Train a network further, in place, half of each batch degraded as codecs do.

    What an autoencoder loses must not decide what the judge reads in a picture.
    """
    network.requires_grad_(True)
    training = Training(
        folder,
        "judge_robust",
        {"judge": network},
        steps=preset.judge_robust_steps,
        peak=1e-3,
        device=device,
        average=0.99,
        weight_decay=0.02,
        cooldown=0.6,
    )
    _fit(training, network, pictures, preset, degraded=preset.judge_batch // 2)


def _fit(
    training: Training, network: JudgeNetwork, pictures: Pictures, preset: Preset, degraded: int
) -> None:
    """Take all steps that are left, on batches whose first `degraded` pictures are degraded."""
    while not training.done:
        _step(training, network, pictures, preset, degraded)
    training.averaged()


def _step(
    training: Training, network: JudgeNetwork, pictures: Pictures, preset: Preset, degraded: int
) -> None:
    """Take one step on such a batch."""
    device = str(training.params[0].device)
    random = Random(f"{training.name.replace('_', ' ')}/{training.step}")
    chosen = random.sample(range(len(pictures)), preset.judge_batch)
    labels = torch.tensor([pictures.attributes(index).labels() for index in chosen], device=device)
    generator = torch.Generator().manual_seed(training.step)
    seen = spoil(_clean(pictures, chosen, device), generator)
    if degraded:
        seen[:degraded] = degrade(seen[:degraded], generator)
    with half_precision(device):
        _, logits = network(seen)
    training.update(
        {
            head: functional.cross_entropy(logits[head].float(), labels[:, k])
            for k, head in enumerate(HEADS)
        }
    )


def _train_text(
    folder: Path, pictures: Pictures, network: JudgeNetwork, preset: Preset, device: str
) -> TextNetwork:
    """Train the text half contrastively: each caption against its own picture's features."""
    torch.manual_seed(4)
    network.eval().requires_grad_(False)
    text = TextNetwork(sorted(vocabulary_corpus()))
    training = Training(
        folder,
        "judge_text",
        {"text": text},
        steps=preset.judge_text_steps,
        peak=2e-3,
        device=device,
        average=0.99,
    )
    while not training.done:
        random = Random(f"judge text/{training.step}")
        chosen = random.sample(range(len(pictures)), min(4 * preset.judge_batch, len(pictures)))
        generator = torch.Generator().manual_seed(training.step)
        captions = [write_caption(pictures.attributes(i), random).text for i in chosen]
        with torch.no_grad():
            features, _ = network(spoil(_clean(pictures, chosen, device), generator))
        scores = 20 * text(captions) @ text.match(features).T
        same = torch.arange(len(scores), device=device)
        training.update(
            {
                "text": functional.cross_entropy(scores, same) / 2,
                "picture": functional.cross_entropy(scores.T, same) / 2,
            }
        )
    training.averaged()
    return text


@torch.no_grad()
def _temperatures(network: JudgeNetwork, count: int, device: str) -> dict[str, float]:
    """Return the temperature of each head that makes it likeliest on renders it never saw.

    On Calibration of Modern Neural Networks (Guo et al., ICML 2017), section 4.2.
    """
    drawn = [numbered_picture("judge", CALIBRATION_SEED + k) for k in range(count)]
    images = render_tensor(drawn).to(device)
    logits = network.eval()(spoil(images, torch.Generator().manual_seed(0)))[1]
    labels = torch.tensor([picture.labels() for picture in drawn], device=device)
    grid = torch.logspace(-1, 1, 81).tolist()
    return {
        head: min(
            grid, key=lambda t: functional.cross_entropy(logits[head] / t, labels[:, k]).item()
        )
        for k, head in enumerate(HEADS)
    }
