"""Intervals and the test, against hand computations and naive loops."""

import itertools
import math
from typing import Any

import pytest
import torch

from textreg.compare.equal_time import steps_in_time
from textreg.compare.intervals import cell_resamples
from textreg.compare.paired_test import concept_flip_p, decide, sign_flip_p
from textreg.compare.summary import POOLS, Spread, not_in_all, summarise
from textreg.compare.table import cell
from textreg.evaluate.intervals import Measured


def test_sign_flips_by_hand() -> None:
    # 1, 2, 3: of the eight sums +-1+-2+-3 only +6 and -6 are as far from 0.
    assert sign_flip_p(torch.tensor([1.0, 2.0, 3.0])) == 2 / 8
    # 3, -1, 1: the sums are 3, 5, 1, 3 and their negatives; six are at least 3.
    assert sign_flip_p(torch.tensor([3.0, -1.0, 1.0])) == 6 / 8
    assert sign_flip_p(torch.zeros(4)) == 1


def test_sign_flips_equal_a_loop_over_all_patterns() -> None:
    values = torch.randn(10, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.4
    observed = abs(sum(values.tolist()))
    found = [
        abs(sum(s * v for s, v in zip(signs, values.tolist(), strict=True)))
        for signs in itertools.product((1, -1), repeat=10)
    ]
    assert sign_flip_p(values) == sum(x >= observed - 1e-12 for x in found) / 1024


def test_many_pairs_are_drawn_at_random_and_agree_with_the_exact_answer() -> None:
    # Of 20 equal differences only the two constant patterns are as extreme: p = 2 / 2^20.
    assert sign_flip_p(torch.ones(20)) == pytest.approx(1 / 20_001)
    # 18 of one sign and 2 of the other: P(|sum| >= 16) of 20 fair signs.
    exact = 2 * sum(math.comb(20, k) for k in range(3)) / 2**20
    values = torch.tensor([1.0] * 18 + [-1.0] * 2)
    assert sign_flip_p(values) == pytest.approx(exact, abs=4e-4)


def test_of_six_concepts_whole_concepts_are_flipped() -> None:
    """Against a loop; of five, which alone could decide nothing, the pairs."""
    values = torch.randn(6, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    values += 0.5
    rows = values.tolist()
    observed = abs(sum(map(sum, rows)))
    found = [
        abs(sum(s * sum(row) for s, row in zip(signs, rows, strict=True)))
        for signs in itertools.product((1, -1), repeat=6)
    ]
    assert concept_flip_p(values) == sum(x >= observed - 1e-12 for x in found) / 64
    assert concept_flip_p(torch.ones(6, 3)) == 2 / 64
    assert concept_flip_p(torch.ones(5, 2)) == 2 / 1024
    places = [(name, seed) for name in "abcdef" for seed in (0, 1)]
    differences = torch.ones(12, dtype=torch.float64)
    assert Spread(places).compare(differences, 0 * differences)["p"] == 2 / 64


@pytest.mark.parametrize(
    ("concepts", "seeds", "verdict"),
    [(2, 1, "undecided"), (5, 1, "undecided"), (1, 6, "equal"), (3, 2, "equal"), (6, 1, "equal")],
)
def test_of_five_pairs_or_fewer_nothing_is_equal(concepts: int, seeds: int, verdict: str) -> None:
    """Six concepts are six units, however many seeds; of fewer concepts the pairs are."""
    spread = Spread([(name, seed) for name in "abcdef"[:concepts] for seed in range(seeds)])
    same = torch.ones(concepts * seeds, dtype=torch.float64)
    assert spread.compare(same, same)["verdict"] == verdict


def test_what_some_concepts_lack_is_compared_of_none() -> None:
    """Whichever comes first; a line names it."""

    def row(prior: str, concept: str, editability: float | None) -> dict[str, Any]:
        shares = {pool: {"value": 0.1} for pool in POOLS}
        return {
            "prior": prior, "concept": concept, "seed": 0, "steps": 1, "seconds": 1.0,
            "fidelity": {"score": 0.5},
            "editability": {"score": editability, "why": "nobody reads it"},
            "drift": {"epsilon_shares": shares},
        }  # fmt: skip

    for cat, dog, lacks in ((None, 0.5, "cat"), (0.5, None, "dog")):
        rows = [row(p, c, e) for p in ("none", "gated") for c, e in (("cat", cat), ("dog", dog))]
        found = summarise(rows, "none")
        assert all("editability" not in entry for entry in found.values())
        assert found["gated"]["fidelity"]["against"]["value"] == 0
        line = f"editability: was not measured of {lacks}, so it is compared of none"
        assert not_in_all(rows) == [line]
    rows = [row(p, c, None) for p in ("none", "gated") for c in ("cat", "dog")]
    assert not_in_all(rows) == ["editability: nobody reads it"]
    assert not_in_all([row("none", "cat", 0.5)]) == []


def test_what_rounding_can_make_is_equal() -> None:
    assert decide(Measured(value=-6e-9, low=-9e-9, high=-3e-9), 0.004, 8) == "equal"
    assert decide(Measured(value=-6e-6, low=-9e-6, high=-3e-6), 0.004, 8) == "less"


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.99512, "100"),
        (0.9949, "99"),
        (0.0512, "5.1"),
        (2e-10, "<.001"),
        (0.0, "0"),
        (1.304, "130"),
    ],
)
def test_a_share_in_percent(share: float, shown: str) -> None:
    assert cell({"value": share, "interval": [share, share]}, percent=True) == shown


def test_a_word_only_if_interval_and_test_agree() -> None:
    above, across = Measured(value=1, low=0.5, high=2), Measured(value=1, low=-0.1, high=2)
    below = Measured(value=-1, low=-2, high=-0.5)
    assert decide(above, 0.01, 6) == "more"
    assert decide(below, 0.01, 6) == "less"
    assert decide(above, 0.25, 3) == "undecided"
    assert decide(across, 0.01, 6) == "undecided"
    zero = Measured(value=0, low=0, high=0)
    assert decide(zero, 1.0, 6) == "equal"
    assert decide(zero, 1.0, 5) == "undecided"


def test_resamples_draw_concepts_then_seeds_within_them() -> None:
    weights = cell_resamples(3, 2, "test", draws=4000)
    assert torch.equal(weights[0], torch.ones(6, dtype=torch.float64))
    assert (weights.sum(1) == 6).all()
    of_concept = weights.reshape(-1, 3, 2).sum(2)
    # A concept comes or goes with both of its cells' draws: always an even number.
    assert (of_concept % 2 == 0).all()
    # Var(mean) = (3 - 1)/3^2 tau^2 for values that differ by concept alone, tau^2 their variance.
    values = torch.tensor([0.0, 0, 1, 1, 2, 2], dtype=torch.float64)
    means = weights[1:] @ values / 6
    assert float(means.var()) == pytest.approx(float(values.var(correction=0)) / 3, rel=0.08)
    assert torch.equal(cell_resamples(1, 1, "test"), torch.ones(1001, 1, dtype=torch.float64))


def test_pairs_are_of_equal_concept_and_seed() -> None:
    places = [("cat", 0), ("cat", 1), ("dog", 0), ("dog", 1)]
    spread = Spread(places[::-1])
    own = spread.values({place: n + 0.5 for n, place in enumerate(places)})
    reference = spread.values({place: float(n) for n, place in enumerate(places)})
    found = spread.compare(own, reference)
    assert (found["value"], found["interval"]) == (0.5, [0.5, 0.5])
    assert found["p"] == 2 / 16
    assert found["verdict"] == "undecided"


@pytest.mark.parametrize(
    ("own", "steps"), [(0.1, 300), (0.05, 300), (0.104, 300), (0.2, 150), (0.13, 230), (99, 1)]
)
def test_steps_that_fit_into_the_reference_s_time(own: float, steps: int) -> None:
    assert steps_in_time(300, own, 0.1) == steps
