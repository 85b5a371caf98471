"""Blur and rounding against naive loops, and their identities."""

from __future__ import annotations

import math

import torch

from textreg.toyland.degradations import blur, degrade, round_coefficients


def test_blur_is_a_normalised_gaussian_mean():
    picture = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    out = blur(picture, torch.full((1, 1, 1, 1), 1.3))
    total = weight = 0.0
    for row in range(8):
        for column in range(8):
            share = math.exp(-0.5 * ((row - 2) ** 2 + (column - 7) ** 2) / 1.3**2)
            total += share * picture[0, 0, row, column].item()
            weight += share
    assert abs(out[0, 0, 2, 7].item() - total / weight) < 1e-5


def test_each_picture_is_blurred_by_its_own_sigma():
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    out = blur(pictures, torch.tensor([1e-3, 3.0]).view(2, 1, 1, 1))
    torch.testing.assert_close(out[0], pictures[0])
    assert out[1].std() < pictures[1].std() / 4


def test_small_steps_change_nothing_and_large_ones_leave_the_rounded_mean():
    pictures = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    fine = round_coefficients(pictures, torch.full((1, 1, 1, 1), 1e-5))
    torch.testing.assert_close(fine, pictures, atol=1e-3, rtol=0)
    # A constant block of value v has one coefficient, 8 v.
    flat = torch.full((1, 1, 64, 64), 0.3)
    coarse = round_coefficients(flat, torch.full((1, 1, 1, 1), 1.0))
    torch.testing.assert_close(coarse, torch.full_like(flat, round(8 * 0.3) / 8))


def test_degraded_pictures_repeat_and_stay_pictures():
    pictures = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    first, again = (degrade(pictures, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.min() >= 0
    assert first.max() <= 1
    assert (first - pictures).abs().mean() > 0.01
