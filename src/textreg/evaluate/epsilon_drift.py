"""Epsilon-drift: how far the tuned model's noise prediction is from the base's (METHOD 10).

    mean over prompts p, timesteps t, latents x_t of || eps_th(x_t, t, p) - eps_0(x_t, t, p) ||^2,
    per latent number

No sampling noise: both models see the very same x_t, so the base against itself gives exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from textreg.method.denoising import add_noise, predicted_noise
from textreg.randomness import generator
from textreg.sampling import PictureModel, sample_latents, scheduler_of

_GUIDANCE, _STEPS = 5.0, 15


class EpsilonDrift:
    """Epsilon-drift on one prompt pool; the base's latents and predictions are computed once."""

    def __init__(
        self,
        base: PictureModel,
        prompts: Sequence[str],
        *,
        num_timesteps: int = 8,
        seed: int = 0,
        batch_size: int = 8,
    ):
        """Draw one picture a prompt with the base and noise it.

        Args:
            base: without a concept.
            prompts: without the identifier.
            num_timesteps: evenly spaced over the training timesteps.
            seed: of the pictures and the noise.
            batch_size: prompts at once; changes rounding, nothing else.
        """
        backbone = base.backbone
        count = len(prompts)
        self._parts = [slice(n, min(n + batch_size, count)) for n in range(0, count, batch_size)]
        x_0 = torch.cat([_drawn(base, list(prompts), seed, part) for part in self._parts])
        alphas = backbone.alphas_cumprod
        places = (torch.arange(num_timesteps) + 0.5) / num_timesteps
        self._t = (places * len(alphas)).long().to(backbone.device)
        self._x_t = [
            add_noise(x_0, self._noise(x_0, seed, int(t)), alphas[t].expand(len(x_0)))
            for t in self._t
        ]
        self._prompts = list(prompts)
        self._model = base
        self._base = self._predict(base, self._prompts)
        self._effect: Tensor | None = None

    def _noise(self, x_0: Tensor, seed: int, t: int) -> Tensor:
        noise = torch.randn(x_0.shape, generator=generator(seed, "epsilon-drift", t))
        return noise.to(x_0)

    def _predict(self, model: PictureModel, prompts: Sequence[str]) -> list[Tensor]:
        backbone = model.backbone
        predictions: list[list[Tensor]] = [[] for _ in self._t]
        for part in self._parts:
            heard = model.conditioning(prompts[part])
            for t, noisy, found in zip(self._t, self._x_t, predictions, strict=True):
                x_t = noisy[part]
                given = model.predict(x_t, t.expand(len(x_t)), heard)
                alphas = backbone.alphas_cumprod[t].expand(len(x_t))
                found.append(predicted_noise(x_t, given, alphas, backbone.prediction_type))
        return [torch.cat(found) for found in predictions]

    def each(self, model: PictureModel) -> Tensor:
        """The drift of a tuned model, prompt by prompt, [prompts]; 0 is the base itself."""
        return self._distance(self._predict(model, self._prompts))

    def measure(self, model: PictureModel) -> float:
        """The drift of a tuned model, per latent number; 0 is the base itself."""
        return float(self.each(model).mean())

    def prompt_effect(self) -> Tensor:
        """How far each prompt moves the base's own prediction from the empty prompt's, [prompts].

        The scale to see a drift against: of this size is all that the prompt says.
        """
        if self._effect is None:
            self._effect = self._distance(self._predict(self._model, [""] * len(self._prompts)))
        return self._effect

    def _distance(self, predictions: Sequence[Tensor]) -> Tensor:
        each = [
            (a - b).square().flatten(1).mean(1)
            for a, b in zip(predictions, self._base, strict=True)
        ]
        return torch.stack(each).mean(0).cpu()


def _drawn(base: PictureModel, prompts: list[str], seed: int, part: slice) -> Tensor:
    """The base's clean latents of some of the prompts, each from a seed of its own."""
    backbone = base.backbone
    side = backbone.resolution // backbone.factor
    seeds = list(range(seed, seed + len(prompts)))
    scheduler = scheduler_of(backbone, "ddim")
    return sample_latents(base, prompts[part], seeds[part], side, _STEPS, _GUIDANCE, scheduler, "")
