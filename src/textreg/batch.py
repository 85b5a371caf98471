"""Noisy samples with what the model should say to them: the instance's, and those a prior adds.

N concepts, S samples each, T tokens, d text width
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from textreg.backbone import Backbone
from textreg.config import Denoising
from textreg.latents import Latents
from textreg.method.denoising import add_noise, loss_per_concept, min_snr_weight, target
from textreg.method.host_copy import on_device
from textreg.method.text_features import TextFeatures
from textreg.method.text_projections import TextProjections
from textreg.randomness import Draws


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """S samples of each of N concepts; a term of the loss.

    The samples of one concept have one shape; where concepts differ in it, latents are N tensors
    [S, channels, height, width] in place of one.
    """

    x_t: Tensor | Sequence[Tensor]
    """Noisy latents, [N, S, channels, height, width]."""
    t: Tensor
    """Timesteps, [N, S]."""
    features: TextFeatures
    """Text features, tokens [N, S, T, d]."""
    gate: Tensor | None = None
    """Tokens that the edit acts on, [N, S, T]; none: all."""
    wanted: Tensor | Sequence[Tensor]
    """The prediction to come close to, in the shape of x_t."""
    counts: Tensor | Sequence[Tensor] | None = None
    """How much each pixel counts, in the shape of x_t with one channel; none: all alike."""
    shares: Tensor | None = None
    """How much each sample counts, [N, S]; none: all alike."""
    weight: float = 1.0


def noisy_batch(
    latents: Sequence[Latents],
    draws: Sequence[Sequence[Draws]],
    features: TextFeatures,
    backbone: Backbone,
    *,
    gate: Tensor | None = None,
    weight: float = 1.0,
    settings: Denoising | None = None,
) -> Batch:
    """Draw pictures, noise and timesteps; what is wanted is the noise (or velocity) itself."""
    settings = settings or Denoising()
    pairs = [own.samples(samples) for own, samples in zip(latents, draws, strict=True)]
    x_0 = [[x for x, _ in own] for own in pairs]
    each = [d for samples in draws for d in samples]
    alphas = backbone.alphas_cumprod
    t = torch.tensor([d.index("timestep", len(alphas)) for d in each])
    t = on_device(t.unflatten(0, features.tokens.shape[:2]), x_0[0][0].device)
    noisy: list[Tensor] = [torch.empty(())] * len(latents)
    wanted = noisy.copy()
    for members in by_shape([own[0] for own in x_0]):
        clean = torch.stack([x for n in members for x in x_0[n]])
        noise = torch.stack(
            [
                _noise(d, tuple(clean.shape[1:]), settings.noise_offset)
                for n in members
                for d in draws[n]
            ]
        )
        noise = on_device(noise, clean.device, clean.dtype)
        a_t = alphas[_rows(t, members).flatten()]
        both = add_noise(clean, noise, a_t), target(clean, noise, a_t, backbone.prediction_type)
        for values, place in zip(both, (noisy, wanted), strict=True):
            for n, own in zip(members, values.unflatten(0, (len(members), -1)), strict=True):
                place[n] = own
    shares = None
    if settings.snr_gamma is not None:
        shares = min_snr_weight(alphas[t], settings.snr_gamma, backbone.prediction_type)
    return Batch(
        x_t=noisy,
        t=t,
        features=features,
        gate=gate,
        wanted=wanted,
        counts=_counts([[c for _, c in own] for own in pairs], wanted),
        shares=shares,
        weight=weight,
    )


def _noise(draws: Draws, shape: tuple[int, ...], offset: float) -> Tensor:
    """Normal noise, with an offset of its own on each channel (Guttenberg 2023)."""
    noise = draws.normal("noise", shape)
    return noise + offset * draws.normal("noise offset", (shape[0], 1, 1)) if offset else noise


def by_shape(tensors: Sequence[Tensor]) -> list[list[int]]:
    """The numbers of the tensors of each shape, in order."""
    members: dict[torch.Size, list[int]] = {}
    for number, tensor in enumerate(tensors):
        members.setdefault(tensor.shape, []).append(number)
    return list(members.values())


def _rows(tensor: Tensor, members: Sequence[int]) -> Tensor:
    """Some concepts' rows; of all of them as a view, as a GPU is told an index and waited for."""
    return tensor if len(members) == len(tensor) else tensor[members]


def _counts(each: list[list[Tensor | None]], like: list[Tensor]) -> list[Tensor] | None:
    """The weights of every concept's pixels, [S, 1, height, width]; none if no picture has any."""
    if all(own is None for samples in each for own in samples):
        return None
    return [
        torch.stack(
            [
                x.new_ones(x.shape[-2:])[None] if c is None else on_device(c, x.device, x.dtype)
                for c in samples
            ]
        )
        for samples, x in zip(each, like, strict=True)
    ]


def predict(
    backbone: Backbone,
    projections: TextProjections,
    x_t: Tensor | Sequence[Tensor],
    t: Tensor,
    features: TextFeatures,
    gate: Tensor | None = None,
) -> list[Tensor]:
    """The denoiser's prediction of each concept, in the shape of x_t; one call for each shape."""
    keys_values = projections(features.tokens, gate)
    pooled = None if features.pooled is None else features.pooled.flatten(0, 1)
    per_concept = t.shape[1]
    predictions: list[Tensor] = [torch.empty(())] * len(x_t)
    shapes = by_shape(list(x_t))
    for members in shapes:
        given, beside = keys_values, pooled
        if len(shapes) > 1:
            rows = [n * per_concept + s for n in members for s in range(per_concept)]
            given = [values[rows] for values in keys_values]
            beside = None if pooled is None else pooled[rows]
        x = torch.cat([x_t[n] for n in members])
        edit = None if projections.attention is None else projections.attention.of(members)
        prediction = backbone.denoiser(x, _rows(t, members).flatten(), given, beside, edit)
        for n, own in zip(members, prediction.split(per_concept), strict=True):
            predictions[n] = own
    return predictions


def losses(
    batches: Sequence[Batch], projections: TextProjections, backbone: Backbone
) -> list[Tensor]:
    """Mean squared error of each batch, [N]; one call of the denoiser serves all of one shape."""
    first = batches[0]
    if len(batches) == 1:
        own = predict(backbone, projections, first.x_t, first.t, first.features, first.gate)
        return [_loss(own, first)]
    alike = all(
        b.x_t[n].shape[1:] == first.x_t[n].shape[1:] for b in batches for n in range(len(first.t))
    )
    if not alike:
        return [losses([batch], projections, backbone)[0] for batch in batches]
    predictions = predict(
        backbone,
        projections,
        [torch.cat([b.x_t[n] for b in batches]) for n in range(len(first.t))],
        torch.cat([b.t for b in batches], dim=1),
        TextFeatures.cat([b.features for b in batches], dim=1),
        _gate(batches),
    )
    sizes = [b.t.shape[1] for b in batches]
    parts = [prediction.split(sizes) for prediction in predictions]
    return [_loss([own[i] for own in parts], batch) for i, batch in enumerate(batches)]


def _loss(predictions: Sequence[Tensor], batch: Batch) -> Tensor:
    """Mean squared error of each concept, [N]."""
    found: list[Tensor] = [torch.empty(())] * len(predictions)
    for members in by_shape(predictions):
        prediction, wanted = (
            torch.cat([values[n] for n in members]) for values in (predictions, batch.wanted)
        )
        counts = None
        if batch.counts is not None:
            counts = torch.cat([batch.counts[n] for n in members])
        shares = None if batch.shares is None else _rows(batch.shares, members).flatten()
        values = loss_per_concept(prediction, wanted, len(members), counts, shares)
        for n, value in zip(members, values, strict=True):
            found[n] = value
    return torch.stack(found)


def _gate(batches: Sequence[Batch]) -> Tensor | None:
    if all(b.gate is None for b in batches):
        return None
    each = [(b.gate, b.features.tokens[..., 0]) for b in batches]
    return torch.cat([torch.ones_like(one) if g is None else g for g, one in each], dim=1)
