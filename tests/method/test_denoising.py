"""Noise, target and loss against their formulas, sample by sample."""

import math

import pytest
import torch

from textreg.method.denoising import (
    add_noise,
    loss_per_concept,
    min_snr_weight,
    predicted_noise,
    target,
)

RANDOM = torch.Generator().manual_seed(0)
X_0, NOISE = torch.randn(2, 3, 4, 5, 5, generator=RANDOM, dtype=torch.float64)
ALPHAS = torch.tensor([0.9, 0.4, 0.05], dtype=torch.float64)


@pytest.mark.parametrize("sample", range(3))
def test_noise_and_velocity_formulas(sample: int) -> None:
    a_t = float(ALPHAS[sample])
    x_0, noise = X_0[sample], NOISE[sample]
    x_t = add_noise(X_0, NOISE, ALPHAS)[sample]
    torch.testing.assert_close(x_t, math.sqrt(a_t) * x_0 + math.sqrt(1 - a_t) * noise)
    velocity = target(X_0, NOISE, ALPHAS, "v_prediction")[sample]
    torch.testing.assert_close(velocity, math.sqrt(a_t) * noise - math.sqrt(1 - a_t) * x_0)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_perfect_prediction_is_the_noise(prediction_type: str) -> None:
    x_t = add_noise(X_0, NOISE, ALPHAS)
    perfect = target(X_0, NOISE, ALPHAS, prediction_type)
    torch.testing.assert_close(predicted_noise(x_t, perfect, ALPHAS, prediction_type), NOISE)


def test_another_prediction_type_is_refused() -> None:
    with pytest.raises(ValueError, match="'sample'"):
        target(X_0, NOISE, ALPHAS, "sample")


def test_loss_is_the_mean_of_a_concepts_own_samples() -> None:
    prediction, wanted = torch.randn(2, 6, 4, 5, 5, generator=RANDOM)
    loss = loss_per_concept(prediction, wanted, 3)
    assert loss.shape == (3,)
    for n in range(3):
        own = slice(2 * n, 2 * n + 2)
        by_hand = torch.nn.functional.mse_loss(prediction[own], wanted[own])
        torch.testing.assert_close(loss[n], by_hand)


def test_loss_of_half_precision_is_summed_in_float32() -> None:
    prediction = torch.full((1, 4, 64, 64), 300.0, dtype=torch.float16)
    assert loss_per_concept(prediction, torch.zeros_like(prediction), 1).item() == 90000.0


def test_min_snr_weighs_both_predictions_by_the_same_error_of_x_0() -> None:
    """w ||prediction - target||^2 = min(SNR, gamma) ||x_0' - x_0||^2, whatever is predicted."""
    random = torch.Generator().manual_seed(0)
    x_0, noise, guess = torch.randn(3, 6, 4, 5, 5, generator=random, dtype=torch.float64)
    a_t = torch.tensor([0.999, 0.9, 0.7, 0.3, 0.05, 0.001], dtype=torch.float64)
    snr = (a_t / (1 - a_t)).tolist()
    x_t = add_noise(x_0, noise, a_t)
    wide = a_t[:, None, None, None]
    # What a model that believes in `guess` says of x_t.
    implied = (x_t - wide.sqrt() * guess) / (1 - wide).sqrt()
    for kind in ("epsilon", "v_prediction"):
        error = target(guess, implied, a_t, kind) - target(x_0, noise, a_t, kind)
        weighted = min_snr_weight(a_t, 5.0, kind) * error.square().mean((1, 2, 3))
        own = (guess - x_0).square().mean((1, 2, 3)).tolist()
        wanted = [min(s, 5.0) * e for s, e in zip(snr, own, strict=True)]
        assert weighted.tolist() == pytest.approx(wanted, rel=1e-9)


def test_shares_weigh_samples() -> None:
    random = torch.Generator().manual_seed(0)
    prediction, wanted = torch.randn(2, 4, 3, 5, 6, generator=random, dtype=torch.float64)
    shares = torch.tensor([0.5, 2.0, 0.0, 1.0], dtype=torch.float64)
    each = [(prediction[n] - wanted[n]).square().mean().item() for n in range(4)]
    found = loss_per_concept(prediction, wanted, 2, shares=shares)
    assert found.tolist() == pytest.approx([each[0] / 4 + each[1], each[3] / 2], rel=1e-12)
