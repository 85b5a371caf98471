"""Noisy samples with what the model should say to them: the instance's, and those a prior adds.

N concepts, S samples each, T tokens, d text width
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from textreg.backbone import Backbone
from textreg.latents import Latents
from textreg.method.denoising import add_noise, loss_per_concept, target
from textreg.method.text_features import TextFeatures
from textreg.method.text_projections import TextProjections
from textreg.randomness import Draws


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """S samples of each of N concepts; a term of the loss."""

    x_t: Tensor
    """Noisy latents, [N, S, channels, height, width]."""
    t: Tensor
    """Timesteps, [N, S]."""
    features: TextFeatures
    """Text features, tokens [N, S, T, d]."""
    gate: Tensor | None = None
    """Tokens that the edit acts on, [N, S, T]; none: all."""
    wanted: Tensor
    """The prediction to come close to, in the shape of x_t."""
    weight: float = 1.0


def noisy_batch(
    latents: Sequence[Latents],
    draws: Sequence[Sequence[Draws]],
    features: TextFeatures,
    backbone: Backbone,
    *,
    gate: Tensor | None = None,
    weight: float = 1.0,
) -> Batch:
    """Draw pictures, noise and timesteps; what is wanted is the noise (or velocity) itself."""
    x_0 = torch.stack(
        [own.sample(d) for own, samples in zip(latents, draws, strict=True) for d in samples]
    )
    each = [d for samples in draws for d in samples]
    noise = torch.stack([d.normal("noise", tuple(x_0.shape[1:])) for d in each]).to(x_0)
    alphas = backbone.alphas_cumprod
    t = torch.tensor([d.index("timestep", len(alphas)) for d in each], device=x_0.device)
    shape = features.tokens.shape[:2]
    return Batch(
        x_t=add_noise(x_0, noise, alphas[t]).unflatten(0, shape),
        t=t.unflatten(0, shape),
        features=features,
        gate=gate,
        wanted=target(x_0, noise, alphas[t], backbone.prediction_type).unflatten(0, shape),
        weight=weight,
    )


def predict(
    backbone: Backbone,
    projections: TextProjections,
    x_t: Tensor,
    t: Tensor,
    features: TextFeatures,
    gate: Tensor | None = None,
) -> Tensor:
    """The denoiser's prediction, in the shape of x_t, [N, S, channels, height, width]."""
    keys_values = projections(features.tokens, gate)
    pooled = None if features.pooled is None else features.pooled.flatten(0, 1)
    prediction = backbone.denoiser(x_t.flatten(0, 1), t.flatten(), keys_values, pooled)
    return prediction.unflatten(0, x_t.shape[:2])


def losses(
    batches: Sequence[Batch], projections: TextProjections, backbone: Backbone
) -> list[Tensor]:
    """Mean squared error of each batch, [N]; one call of the denoiser serves them all."""
    prediction = predict(
        backbone,
        projections,
        torch.cat([b.x_t for b in batches], dim=1),
        torch.cat([b.t for b in batches], dim=1),
        TextFeatures.cat([b.features for b in batches], dim=1),
        _gate(batches),
    )
    own = prediction.split([b.t.shape[1] for b in batches], dim=1)
    return [
        loss_per_concept(p.flatten(0, 1), b.wanted.flatten(0, 1), len(b.t))
        for p, b in zip(own, batches, strict=True)
    ]


def _gate(batches: Sequence[Batch]) -> Tensor | None:
    if all(b.gate is None for b in batches):
        return None
    each = [(b.gate, b.features.tokens[..., 0]) for b in batches]
    return torch.cat([torch.ones_like(one) if g is None else g for g, one in each], dim=1)
