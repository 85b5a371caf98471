"""Drift at equal fidelity: by hand, and against walking both curves in small steps."""

import itertools

import pytest
import torch
from equal_fidelity import at_equal_fidelity, common_fidelity, curves_of, first_at

from textreg.compare.paired_test import sign_flip_p

STEPS = (0, 38, 75, 150, 300)


def test_by_hand() -> None:
    # Half way from .5 to .7 the drift is half way from 0 to 4.
    curve = [(0.5, 0.0), (0.7, 4.0), (0.9, 10.0)]
    assert first_at(curve, 0.6) == pytest.approx(2)
    assert first_at(curve, 0.7) == 4
    assert first_at(curve, 0.4) == 0  # the word alone is there already
    with pytest.raises(ValueError, match="has fidelity"):
        first_at(curve, 0.95)
    assert common_fidelity(curve, [(0.5, 0.0), (0.65, 9.0)]) == 0.65
    # Of a curve that comes back only the first arrival counts.
    assert first_at([(0.5, 0.0), (0.7, 1.0), (0.4, 2.0), (0.8, 3.0)], 0.7) == 1


def made_up_points() -> list[dict[str, object]]:
    random = torch.Generator().manual_seed(5)
    points: list[dict[str, object]] = []
    for prior, concept, seed in itertools.product(("a", "b"), ("cat", "dog", "vase"), (0, 1)):
        drift = 0.0
        for step in STEPS:
            fidelity, more = torch.rand(2, generator=random, dtype=torch.float64).tolist()
            fidelity = 0.5 if step == 0 else 0.4 + 0.5 * fidelity
            drift += more if step else 0
            points.append(
                {"prior": prior, "concept": concept, "seed": seed, "step": step,
                 "fidelity": fidelity, "drift": {"class": drift}}
            )  # fmt: skip
    return points[::-1]  # their order says nothing


def naive_drift(curve: dict[int, tuple[float, float]], fidelity: float) -> float:
    """Walk the curve in tiny steps until it is there."""
    for first, last in itertools.pairwise(STEPS):
        (f0, d0), (f1, d1) = curve[first], curve[last]
        for n in range(20_001):
            share = n / 20_000
            if f0 + share * (f1 - f0) >= fidelity - 1e-12:
                return d0 + share * (d1 - d0)
    raise AssertionError


def test_pairs_equal_a_naive_walk() -> None:
    points = made_up_points()
    differences: list[float] = []
    above = 0
    for concept, seed in itertools.product(("cat", "dog", "vase"), (0, 1)):
        a, b = (
            {
                p["step"]: (p["fidelity"], p["drift"]["class"])  # type: ignore[index]
                for p in points
                if (p["prior"], p["concept"], p["seed"]) == (prior, concept, seed)
            }
            for prior in "ab"
        )
        most = min(max(f for f, _ in line.values()) for line in (a, b))  # type: ignore[type-var]
        above += most > 0.5
        differences.append(naive_drift(a, most) - naive_drift(b, most))  # type: ignore[arg-type]
    found = at_equal_fidelity(points, "a", "b", "class")
    assert found["value"] == pytest.approx(sum(differences) / 6, abs=1e-3)
    assert found["value"] == pytest.approx(found["own"] - found["reference"])
    assert found["p"] == sign_flip_p(torch.tensor(differences))
    assert (found["above"], found["pairs"]) == (above, 6)
    low, high = found["interval"]
    assert low < found["value"] < high


def test_a_prior_against_itself_is_equal() -> None:
    points = [p for p in made_up_points() if p["prior"] == "a"]
    found = at_equal_fidelity(points + [p | {"prior": "b"} for p in points], "a", "b", "class")
    assert (found["value"], found["verdict"]) == (0, "equal")


def test_curves_are_sorted_by_step_and_must_be_of_the_same_cells() -> None:
    points = made_up_points()
    assert curves_of(points, "a", "class")["cat", 0][0] == (0.5, 0)
    some = [p for p in points if (p["prior"], p["concept"]) != ("b", "cat")]
    with pytest.raises(ValueError, match="a and b were not measured in the same cells"):
        at_equal_fidelity(some, "a", "b", "class")
