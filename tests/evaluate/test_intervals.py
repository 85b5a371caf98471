import pytest
import torch

from textreg.evaluate.decisions import (
    drifted,
    gained,
    kept,
    moved_beyond_floor,
    pulled,
)
from textreg.evaluate.distances import pairwise_distance
from textreg.evaluate.intervals import Measured, measured, resamples, weighted_mean


def test_resamples_depend_on_the_key_alone() -> None:
    w = resamples(10, 0, "class", draws=50)
    assert w.shape == (51, 10)
    assert w[0].tolist() == [1.0] * 10
    assert w.sum(1).tolist() == [10.0] * 51
    assert torch.equal(w, resamples(10, 0, "class", draws=50))
    assert not torch.equal(w, resamples(10, 1, "class", draws=50))


def test_the_interval_of_a_mean_is_the_textbook_one() -> None:
    x = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = measured(weighted_mean(x, resamples(200, 0, draws=4000)))
    half = 1.96 * float(x.std()) / 200**0.5
    assert found.value == pytest.approx(float(x.mean()))
    assert found.high - found.value == pytest.approx(half, rel=0.1)
    assert found.value - found.low == pytest.approx(half, rel=0.1)


def test_pairs_cancel_what_both_sides_share() -> None:
    """The point of equal seeds: a shift of .1 is sure in pairs and lost among unpaired sets."""
    random = torch.Generator().manual_seed(0)
    base = torch.randn(30, generator=random, dtype=torch.float64)
    tuned = base + 0.1
    pairs, others = resamples(30, 0, "pairs"), resamples(30, 0, "others")
    paired = measured(weighted_mean(tuned, pairs) - weighted_mean(base, pairs))
    unpaired = measured(weighted_mean(tuned, pairs) - weighted_mean(base, others))
    assert (paired.low, paired.high) == pytest.approx((0.1, 0.1))
    assert unpaired.low < 0 < unpaired.high


def test_pictures_drawn_twice_do_not_count_as_alike() -> None:
    """All pairs, equal ones too: a resample holds more equal pairs, so its mean distance falls."""
    x = torch.nn.functional.normalize(
        torch.randn(12, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=1
    )
    w = resamples(12, 0)
    distance = 1 - ((w @ (x @ x.T)) * w).sum(1) / 144
    plain, corrected = measured(distance), measured(distance, corrected=True)
    assert plain.high < plain.value
    assert corrected.low < corrected.value < corrected.high
    # Pairs of one picture with itself left out, nothing is to be corrected.
    apart = measured(pairwise_distance(x, w))
    assert apart.low < apart.value < apart.high


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (drifted(Measured(value=0.001, low=0.0, high=0.009)), "held"),
        (drifted(Measured(value=0.02, low=0.011, high=0.03)), "moved"),
        (drifted(Measured(value=0.01, low=0.005, high=0.02)), "undecided"),
        (kept(Measured(value=-0.02, low=-0.09, high=0.05), 0.1), "kept"),
        (kept(Measured(value=-0.2, low=-0.3, high=-0.1), 0.1), "lost"),
        (kept(Measured(value=-0.1, low=-0.3, high=0.1), 0.1), "undecided"),
        (gained(Measured(value=0.1, low=0.01, high=0.2)), "learned"),
        (gained(Measured(value=-0.1, low=-0.2, high=0)), "not learned"),
        (gained(Measured(value=0.1, low=-0.1, high=0.3)), "undecided"),
        (pulled(Measured(value=0.0, low=-0.005, high=0.005), 0.01), "held"),
        (pulled(Measured(value=0.1, low=0.05, high=0.15), 0.01), "moved"),
        (pulled(Measured(value=0.1, low=-0.05, high=0.25), 0.01), "undecided"),
    ],
)
def test_what_an_interval_decides(answer: str, expected: str) -> None:
    assert answer == expected


@pytest.mark.parametrize(
    ("distance", "excess", "expected"),
    [
        (Measured(value=0.9, low=0.7, high=1.1), Measured(value=0.8, low=0.5, high=1.0), "moved"),
        (Measured(value=0.1, low=0.0, high=0.2), Measured(value=0.0, low=-0.2, high=0.1), "held"),
        (
            Measured(value=0.4, low=0.1, high=0.7),
            Measured(value=0.3, low=-0.1, high=0.6),
            "undecided",
        ),
    ],
)
def test_the_floor_decides(distance: Measured, excess: Measured, expected: str) -> None:
    floor = Measured(value=0.1, low=0.0, high=0.3)
    assert moved_beyond_floor(distance, floor, excess) == expected
