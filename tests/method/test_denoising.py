"""Noise, target and loss against their formulas, sample by sample."""

import math

import pytest
import torch

from textreg.method.denoising import add_noise, loss_per_concept, predicted_noise, target

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
