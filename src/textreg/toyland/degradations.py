"""What codecs do to pictures, by textbook means that share nothing with the base's autoencoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .world import SIDE

_BLOCK = 8
"""Side of the blocks whose cosine coefficients are rounded, as in JPEG."""


def degrade(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Blur lightness a little and colour a lot, and round cosine coefficients, each its own amount.

    Args:
        pictures: floats [n, 3, 64, 64] in 0..1.
        generator: of the amounts, on the CPU.

    Returns:
        pictures of the same shape, in 0..1.
    """
    count, device = len(pictures), pictures.device

    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand(count, 1, 1, 1, generator=generator).to(device)
        return low + (high - low) * draw

    weights = torch.tensor([0.299, 0.587, 0.114], device=device).view(1, 3, 1, 1)  # BT.601
    luma = (pictures * weights).sum(1, keepdim=True)
    chroma = pictures - luma
    luma = blur(luma, uniform(0.1, 1.2))
    chroma = blur(chroma, uniform(0.1, 3.0)) * uniform(0.8, 1.0)
    step = uniform(0.0, 0.06) + 1e-4
    out = round_coefficients(luma, step) + round_coefficients(chroma, 2 * step)
    return out.clamp(0, 1)


def blur(pictures: Tensor, sigma: Tensor) -> Tensor:
    """Convolve pictures [n, c, side, side] with Gaussians of sigma [n, 1, 1, 1] pixels.

    Kernels are cut off at the borders and normalised there.
    """
    place = torch.arange(pictures.shape[-1], device=pictures.device, dtype=torch.float32)
    distance = (place[:, None] - place) / sigma
    kernel = (-0.5 * distance**2).exp()
    kernel = kernel / kernel.sum(-1, keepdim=True)
    return kernel @ pictures @ kernel.mT


def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal cosine transform (DCT-II) of each block: [64, 64]."""
    place, frequency = torch.arange(_BLOCK) + 0.5, torch.arange(_BLOCK)[:, None]
    rows = (math.pi / _BLOCK * frequency * place).cos() * (2 / _BLOCK) ** 0.5
    rows[0] /= 2**0.5
    return torch.block_diag(*[rows] * (SIDE // _BLOCK)).to(device)


def round_coefficients(pictures: Tensor, step: Tensor) -> Tensor:
    """Round the cosine coefficients of 8 x 8 blocks, high frequencies more coarsely.

    Args:
        pictures: [n, c, 64, 64].
        step: [n, 1, 1, 1], of the lowest frequency; the highest has 8 times as much.

    Returns:
        pictures of the same shape.
    """
    transform = _cosines(pictures.device)
    frequency = torch.arange(SIDE, device=pictures.device) % _BLOCK
    steps = step * (1 + (frequency[:, None] + frequency) / 2)
    coefficients = (transform @ pictures @ transform.mT / steps).round() * steps
    return transform.mT @ coefficients @ transform
