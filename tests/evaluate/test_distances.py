import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from textreg.evaluate.distances import cmmd, kid, pairwise_distance, vendi


def unit(count: int, width: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, width, generator=random, dtype=torch.float64)
    return torch.nn.functional.normalize(x + 0.7, dim=1)


def ones(x: Tensor) -> Tensor:
    return torch.ones(1, len(x), dtype=torch.float64)


def test_kid_is_the_double_loop() -> None:
    x, y = unit(7, 5, 0), unit(7, 5, 1)
    total = 0.0
    for i in range(7):
        for j in range(7):
            if i != j:
                total += float((x[i] @ x[j] + 1) ** 3 + (y[i] @ y[j] + 1) ** 3)
                total -= 2 * float((x[i] @ y[j] + 1) ** 3)
    assert float(kid(x, y, ones(x), ones(y))) == pytest.approx(total / (7 * 6), rel=1e-12)


def test_kid_is_0_on_average_for_two_sets_of_one_model() -> None:
    """Unbiased: the mean over many small draws is 0, though single draws are far from it."""
    draws = torch.cat(
        [
            kid(unit(6, 4, 2 * s), unit(6, 4, 2 * s + 1), *[torch.ones(1, 6).double()] * 2)
            for s in range(400)
        ]
    )
    assert abs(float(draws.mean())) < 3 * float(draws.std()) / math.sqrt(len(draws))
    assert float(draws.min()) < 0 < float(draws.max())


def test_cmmd_is_the_double_loop() -> None:
    x, y = unit(6, 5, 0), unit(6, 5, 1)

    def mean(a: Tensor, b: Tensor) -> float:
        pairs = [math.exp(-float((p - q).square().sum()) / 200) for p in a for q in b]
        return sum(pairs) / len(pairs)

    expected = 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))
    assert float(cmmd(x, y, ones(x), ones(y))) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("distance", [kid, cmmd])
def test_equal_sets_have_no_distance_in_any_resample(
    distance: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
) -> None:
    x = unit(9, 4, 0)
    w = torch.tensor([[1.0] * 9, [3, 0, 2, 1, 1, 0, 2, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(distance(x, x, w, w), torch.zeros(2).double(), atol=1e-10, rtol=0)


def test_weights_repeat_pictures() -> None:
    x, y = unit(3, 4, 0), unit(3, 4, 1)
    w = torch.tensor([[2.0, 1, 0]], dtype=torch.float64)
    drawn = torch.tensor([0, 0, 1])
    for weighted, plain in (
        (cmmd(x, y, w, w), cmmd(x[drawn], y[drawn], ones(x), ones(y))),
        (vendi(x, w), vendi(x[drawn], ones(x))),
    ):
        torch.testing.assert_close(weighted, plain)
    # Pairs of a picture with itself are no pairs, also when it is drawn twice.
    torch.testing.assert_close(pairwise_distance(x, w), 1 - (x[0] @ x[1]).reshape(1))


def test_diversity_of_equal_and_of_orthogonal_pictures() -> None:
    equal, orthogonal = unit(1, 6, 0).expand(6, -1), torch.eye(6, dtype=torch.float64)
    assert float(vendi(equal, ones(equal))) == pytest.approx(1)
    assert float(vendi(orthogonal, ones(equal))) == pytest.approx(6)
    assert float(pairwise_distance(equal, ones(equal))) == pytest.approx(0, abs=1e-12)
    assert float(pairwise_distance(orthogonal, ones(equal))) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
def test_vendi_from_either_side(shape: tuple[int, int]) -> None:
    x = unit(*shape, 3)
    eigenvalues = torch.linalg.eigvalsh(x @ x.T / len(x)).clamp(min=1e-300)
    expected = torch.exp(-(eigenvalues * eigenvalues.log()).sum())
    assert float(vendi(x, ones(x))) == pytest.approx(float(expected), rel=1e-9)
