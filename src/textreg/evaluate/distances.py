r"""Distances between sets of pictures, and diversity of one, from unit feature vectors (METHOD 10).

Every statistic takes weights [draws, n], how often each picture is in a resample; all ones is the
statistic itself. Two sets are paired: picture i of both has the same prompt and seed, so one draw
of weights serves both, and pairs i = j are left out of the unbiased distance.

    x, y  [n, d]  unit feature vectors        w, v  [draws, n]  weights of x and of y
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_SIGMA, CMMD_SCALE = 10.0, 1000.0
_EIGENVALUES_AT_ONCE = 64


Kernel = Callable[[Tensor, Tensor], Tensor]


def kid_kernel(a: Tensor, b: Tensor) -> Tensor:
    """(a b + 1)^3, [n, m]; KID's is (a b / d + 1)^3 on raw features, here a and b have sqrt(d)."""
    return (a @ b.T + 1) ** 3


def cmmd_kernel(a: Tensor, b: Tensor) -> Tensor:
    """exp(-||a - b||^2 / (2 10^2)), [n, m]."""
    return torch.exp(-torch.cdist(a, b).square() / (2 * _SIGMA**2))


def unbiased(kernel: Kernel, x: Tensor, y: Tensor, w: Tensor, v: Tensor) -> Tensor:
    r"""MMD_u^2 of paired sets.

        1 / (n (n - 1)) sum over i /= j of k(x_i, x_j) + k(y_i, y_j) - 2 k(x_i, y_j)

    0 on average for two sets of one model, exactly 0 for equal sets; may be negative.

    Returns:
        [draws].

    Source: Gretton et al., JMLR 2012, equation 4.
    """
    within = _off_diagonal(kernel(x, x), w, w) + _off_diagonal(kernel(y, y), v, v)
    return within - 2 * _off_diagonal(kernel(x, y), w, v)


def unpaired(kernel: Kernel, x: Tensor, y: Tensor, w: Tensor, v: Tensor) -> Tensor:
    """As `unbiased`, of sets that need not be equally many: all pairs of one and the other."""
    within = _off_diagonal(kernel(x, x), w, w) + _off_diagonal(kernel(y, y), v, v)
    return within - 2 * _all_pairs(kernel(x, y), w, v)


def kid(x: Tensor, y: Tensor, w: Tensor, v: Tensor) -> Tensor:
    """Kernel distance: `unbiased` with the polynomial kernel. [draws].

    Source: Binkowski et al., ICLR 2018.
    """
    return unbiased(kid_kernel, x, y, w, v)


def cmmd(x: Tensor, y: Tensor, w: Tensor, v: Tensor) -> Tensor:
    r"""CMMD: 1000 MMD^2 with the Gaussian kernel, all pairs.

    Never negative, and so above 0 for two sets of one model: compare with the floor. Exactly 0 for
    equal sets. Published on CLIP's features.

    Returns:
        [draws].

    Source: Jayasumana et al., CVPR 2024 (2401.09603).
    """
    k = cmmd_kernel
    within = _all_pairs(k(x, x), w, w) + _all_pairs(k(y, y), v, v)
    return CMMD_SCALE * (within - 2 * _all_pairs(k(x, y), w, v))


def pairwise_distance(x: Tensor, w: Tensor) -> Tensor:
    """DIV: mean of 1 - x_i x_j over pairs i /= j; 0 if all are equal, 1 if orthogonal. [draws]."""
    return 1 - _off_diagonal(x @ x.T, w, w)


def vendi(x: Tensor, w: Tensor) -> Tensor:
    r"""Vendi score: exp(- sum of l log l), l the eigenvalues of K / n, K = x x'.

    The effective number of different pictures: 1 if all are equal, n if all are orthogonal.

    Returns:
        [draws].

    Source: Friedman and Dieng, TMLR 2023 (2210.02410), definition 3.1.
    """
    scores: list[Tensor] = []
    for part in (w / w.sum(1, keepdim=True)).split(_EIGENVALUES_AT_ONCE):
        rows = part.sqrt()[:, :, None] * x
        # The same eigenvalues, but for zeros, from whichever side is smaller.
        smaller = rows @ rows.mT if x.shape[0] <= x.shape[1] else rows.mT @ rows
        eigenvalues = torch.linalg.eigvalsh(smaller).clamp(min=0)
        scores.append(torch.special.entr(eigenvalues).sum(1).exp())
    return torch.cat(scores)


def _all_pairs(k: Tensor, w: Tensor, v: Tensor) -> Tensor:
    """Weighted mean of k_ij, [draws]."""
    return ((w @ k) * v).sum(1) / (w.sum(1) * v.sum(1))


def _off_diagonal(k: Tensor, w: Tensor, v: Tensor) -> Tensor:
    """Weighted mean of k_ij over i /= j, [draws]; also between different pictures drawn twice."""
    total = ((w @ k) * v).sum(1) - (w * v * k.diagonal()).sum(1)
    return total / (w.sum(1) * v.sum(1) - (w * v).sum(1))
