"""The denoising objective: noise, target, loss per concept (METHOD 4)."""

from __future__ import annotations

import torch
from torch import Tensor


def add_noise(x_0: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise.

    Args:
        x_0: clean latents, [batch, channels, height, width].
        noise: same shape.
        alphas_cumprod: a_t of each sample's timestep, [batch].
    """
    a_t = alphas_cumprod.to(x_0.dtype)[:, None, None, None]
    return a_t.sqrt() * x_0 + (1 - a_t).sqrt() * noise


def target(x_0: Tensor, noise: Tensor, alphas_cumprod: Tensor, prediction_type: str) -> Tensor:
    """What the model should predict: the noise, or v = sqrt(a_t) noise - sqrt(1 - a_t) x_0.

    Raises:
        ValueError: another prediction type than "epsilon" and "v_prediction".

    Source: Ho et al. 2020; Salimans and Ho 2022, "Progressive distillation", appendix D.
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":
        a_t = alphas_cumprod.to(x_0.dtype)[:, None, None, None]
        return a_t.sqrt() * noise - (1 - a_t).sqrt() * x_0
    raise ValueError(f"prediction type {prediction_type!r}; epsilon and v_prediction are supported")


def predicted_noise(
    x_t: Tensor, prediction: Tensor, alphas_cumprod: Tensor, prediction_type: str
) -> Tensor:
    """The noise that a prediction of either type stands for; the common scale of epsilon-drift."""
    if prediction_type == "epsilon":
        return prediction
    a_t = alphas_cumprod.to(x_t.dtype)[:, None, None, None]
    return a_t.sqrt() * prediction + (1 - a_t).sqrt() * x_t


def min_snr_weight(alphas_cumprod: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Min-SNR weight of a sample's squared error: min(SNR, gamma) on the scale of x_0.

    SNR = a_t / (1 - a_t). The error of the noise is SNR times that of x_0, the velocity's SNR + 1
    times, so it is min(1, gamma / SNR), or min(SNR, gamma) / (SNR + 1).

    Args:
        alphas_cumprod: a_t of each sample's timestep, of any shape.
        gamma: where the weight stops growing.
        prediction_type: "epsilon" or "v_prediction".

    Source: Hang et al., ICCV 2023, "Efficient diffusion training via min-SNR weighting".
    """
    snr = alphas_cumprod / (1 - alphas_cumprod)
    if prediction_type == "epsilon":
        return (gamma / snr).clamp(max=1)
    return snr.clamp(max=gamma) / (snr + 1)


def loss_per_concept(
    prediction: Tensor,
    wanted: Tensor,
    concepts: int,
    counts: Tensor | None = None,
    shares: Tensor | None = None,
) -> Tensor:
    """Mean squared error of each concept's own samples, [concepts], in float32 or wider.

    The training loss is its *sum*: a mean would divide every concept's gradient by their number.

    Args:
        prediction: [batch, channels, height, width], the concepts' samples one after the other.
        wanted: same shape.
        concepts: how many.
        counts: how much each pixel counts, [batch, 1, height, width]; each sample's mean is then
            over its own area, and one where nothing counts adds 0. None, and exactly so ones: all.
        shares: factor of each sample's mean, [batch]; none: 1.
    """
    wide = torch.promote_types(prediction.dtype, torch.float32)
    error = (prediction.to(wide) - wanted.to(wide)).square()
    if counts is not None:
        area = counts.to(wide).mean((1, 2, 3), keepdim=True)
        error = error * torch.where(area > 0, counts.to(wide) / area, 0)
    if shares is not None:
        error = error * shares.to(wide)[:, None, None, None]
    return error.unflatten(0, (concepts, -1)).flatten(1).mean(1)
