import pytest
import torch

from textreg.evaluate.decisions import (
    drifted,
    gained,
    kept,
    kept_share,
    moved_beyond_floor,
    pulled,
    with_enough,
)
from textreg.evaluate.distances import pairwise_distance
from textreg.evaluate.intervals import (
    Measured,
    measured,
    measured_share,
    resamples,
    unseen_rate,
    weighted_mean,
)


def test_resamples_depend_on_the_key_alone() -> None:
    w = resamples(10, 0, "class", draws=50)
    assert w.shape == (51, 10)
    assert w[0].tolist() == [1.0] * 10
    assert w.sum(1).tolist() == [10.0] * 51
    assert torch.equal(w, resamples(10, 0, "class", draws=50))
    assert not torch.equal(w, resamples(10, 1, "class", draws=50))


def test_resamples_for_pairs_are_never_one_item_throughout() -> None:
    """One in eight evaluations would have such a resample of 6; all others are as they were."""
    alone = 0
    for seed in range(40):
        plain, pairs = resamples(6, seed), resamples(6, seed, pairs=True)
        same = plain.max(1).values < 6
        assert torch.equal(plain[same], pairs[same])
        assert float(pairs.max()) < 6
        assert pairs.sum(1).tolist() == [6.0] * 1001
        alone += int((~same).sum())
    assert alone > 0


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


def of_pairs(lost: int, count: int) -> Measured:
    change = torch.tensor([-1.0] * lost + [0.0] * (count - lost), dtype=torch.float64)
    return measured_share(change, resamples(count, 0), least=-1)


def test_pictures_that_are_all_alike_are_no_certainty() -> None:
    """The exact interval of a binomial; any other share keeps its resamples'."""
    assert (1 - unseen_rate(24)) ** 24 == pytest.approx(0.025)
    alike, weights = torch.ones(24), resamples(24, 0)
    found = measured_share(alike, weights)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 24))
    assert (of_pairs(0, 24).low, of_pairs(0, 24).high) == pytest.approx((-0.1425, 0.1425), abs=1e-4)
    assert (of_pairs(24, 24).low, of_pairs(24, 24).high) == pytest.approx((-1, -0.8575), abs=1e-4)
    alike[3] = 0
    assert measured_share(alike, weights) == measured(weighted_mean(alike, weights))


def test_shares_decide_by_what_so_many_pictures_can_tell() -> None:
    said = [kept_share(of_pairs(lost, 24), 24) for lost in range(25)]
    # All alike is kept at the default's size; three losses may be chance, and so on without return.
    assert [said[n] for n in (0, 1, 3, 12, 24)] == ["kept", *["undecided"] * 2, *["lost"] * 2]
    order = ["kept", "undecided", "lost"]
    assert [order.index(word) for word in said] == sorted(order.index(word) for word in said)
    # Fewer pictures never say more.
    assert [kept_share(of_pairs(0, n), n) for n in (1, 2, 7, 8, 16, 22, 23)] == [
        *["undecided"] * 6,
        "kept",
    ]
    assert [kept_share(of_pairs(n, n), n) for n in (1, 2, 7, 8)] == [*["undecided"] * 3, "lost"]


def test_too_few_values_decide_nothing() -> None:
    sure = gained(Measured(value=0.1, low=0.1, high=0.1))
    assert [with_enough(sure, count) for count in (1, 7, 8)] == [
        "undecided",
        "undecided",
        "learned",
    ]


@pytest.mark.parametrize(
    ("distance", "excess", "expected"),
    [
        (Measured(value=0.9, low=0.7, high=1.1), Measured(value=0.8, low=0.5, high=1.0), "moved"),
        (Measured(value=0.1, low=-0.1, high=0.3), Measured(value=0.0, low=-0.2, high=0.1), "held"),
        (Measured(value=0.0, low=0.0, high=0.0), Measured(value=0.1, low=0.05, high=0.2), "held"),
        (
            Measured(value=0.4, low=0.1, high=0.7),
            Measured(value=0.3, low=-0.1, high=0.6),
            "undecided",
        ),
    ],
)
def test_floor_and_scale_decide(distance: Measured, excess: Measured, expected: str) -> None:
    """A floor that happens to be below 0 moves nothing that is where it was."""
    scale = Measured(value=10, low=8, high=12)
    assert moved_beyond_floor(distance, excess, scale) == expected
    # Where other nouns look alike, nothing is known of what a distance means.
    alike = moved_beyond_floor(distance, excess, Measured(value=0.1, low=-0.1, high=0.3))
    assert alike == ("moved" if expected == "moved" else "undecided")
