"""Noisy samples: the offset of the noise, the weights of the timesteps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from textreg.backbone import Backbone
from textreg.batch import Batch, losses, noisy_batch
from textreg.config import Denoising, Optimizer
from textreg.randomness import Draws
from textreg.run_pictures import check_pictures
from textreg.training import Training
from tiny_run import tiny_run


def test_the_noise_offset_moves_each_channel_and_is_wanted_too(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(tiny_base, tmp_path, cat_pictures)
    training = Training(run, backbone64, check_pictures(run))
    draws = [[Draws("test", s) for s in range(2)]]
    features = training.stage.features(draws)
    plain, moved = (
        noisy_batch(
            training.latents, draws, features, backbone64, settings=Denoising(noise_offset=size)
        )
        for size in (0.0, 0.25)
    )
    offset = 0.25 * torch.stack([d.normal("noise offset", (4, 1, 1)) for d in draws[0]]).double()
    found = moved.wanted[0] - plain.wanted[0]
    torch.testing.assert_close(found, offset.expand(2, 4, 8, 8), atol=1e-6, rtol=0)
    share = (1 - backbone64.alphas_cumprod[plain.t[0]]).sqrt()[:, None, None, None]
    found = moved.x_t[0] - plain.x_t[0]
    torch.testing.assert_close(found, (share * offset).expand(2, 4, 8, 8), atol=1e-6, rtol=0)
    assert plain.shares is None


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weighs_each_sample_of_a_step(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path, kind: str
) -> None:
    """What a step reports is the mean of its samples' own losses, each times its own weight."""
    run = tiny_run(
        tiny_base,
        tmp_path,
        cat_pictures,
        optimizer=Optimizer(batch_size=8),
        denoising=Denoising(snr_gamma=5.0),
    )
    scheduler = type(backbone64.scheduler).from_config(
        backbone64.scheduler.config, prediction_type=kind
    )
    backbone = replace(backbone64, scheduler=scheduler)
    training = Training(run, backbone, check_pictures(run))
    draws = [[Draws(run.seed, "cat", "inversion", 0, 0, s) for s in range(8)]]
    features = training.stage.features(draws)
    batch = noisy_batch(training.latents, draws, features, backbone)
    wanted: list[float] = []
    weights: list[float] = []
    for s, a_t in enumerate(backbone.alphas_cumprod[batch.t[0]].tolist()):
        one = Batch(
            x_t=[batch.x_t[0][s, None]],
            t=batch.t[:, s, None],
            features=batch.features[:, s, None],
            wanted=[batch.wanted[0][s, None]],
        )
        (own,) = losses([one], training.projections, backbone)
        snr = a_t / (1 - a_t)
        weights.append(min(snr, 5) / (snr if kind == "epsilon" else snr + 1))
        wanted.append(weights[-1] * own.item())
    assert min(weights) < 0.5 < max(weights)
    found = training._backward(0)["denoising"].item()
    assert found == pytest.approx(sum(wanted) / 8, rel=1e-6)  # the schedule is in float32


def test_the_samples_of_a_prior_keep_their_weight(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """Output preservation shares the instance's noisy samples, not what they count."""
    run = tiny_run(tiny_base, tmp_path, cat_pictures, prior="output-preservation")
    terms: list[dict[str, float]] = []
    for gamma in (None, 1e-3):
        own = replace(run, denoising=Denoising(snr_gamma=gamma))
        training = Training(own, backbone64, check_pictures(own))
        training.step = run.inversion.steps
        assert training.advance()
        with torch.no_grad():
            training.edits.text.up.fill_(0.1)
        terms.append({name: value.item() for name, value in training._backward(0).items()})
    plain, weighted = terms
    assert weighted["denoising"] < 0.5 * plain["denoising"]
    assert weighted["output_preservation"] == plain["output_preservation"] > 0
