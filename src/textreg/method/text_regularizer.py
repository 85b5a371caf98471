"""TextReg: on which texts the edit must change nothing (METHOD 4-5).

R_m(p) = || dW_m c(p)^T ||_F over all rows of c;  dW_m = s B_m A_m, never formed

L_cpp = mean over all keys and values m of R_m(class prompt)
L_epp = mean over the keys m only of R_m(edit prompt)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from textreg.method.shift_norms import weighted_norms
from textreg.method.text_projections import LowRankEdit, TextProjections

_KEYS, _ALL = 2, 1
"""Every so-many-th projection: keys and values alternate."""


@lru_cache(maxsize=16)
def _weights(
    places: tuple[int, ...],
    samples: int,
    every: tuple[int, ...],
    scale: float,
    device: torch.device,
) -> Tensor:
    """Of K means, each over prompts of its own and over every so-many-th projection, [M S, K]."""
    weights = torch.zeros(len(places), len(every), samples, len(every), dtype=torch.float64)
    for k, step in enumerate(every):
        own = list(places[::step])
        weights[own, k, :, k] = scale / (len(own) * samples)
    return weights.flatten(0, 2).to(device)


def _means(projections: TextProjections, features: Tensor, *every: int) -> tuple[Tensor, ...]:
    """R_m, a mean over each share of the prompts, [N]; the gradient at dW = 0 is 0, not NaN."""
    edit, samples = _edit_of(projections), features.shape[1] // len(every)
    weights = _weights(tuple(edit.places), samples, every, edit.scale, features.device)
    return weighted_norms(edit, features, weights).unbind(1)


def _edit_of(projections: TextProjections) -> LowRankEdit:
    if projections.edit is None:
        raise ValueError("these projections have no edit to regularise; set projections.edit first")
    return projections.edit


def class_prior_loss(projections: TextProjections, class_features: Tensor) -> Tensor:
    """L_cpp: how far the edit moves keys and values of class prompts.

    Args:
        projections: with an edit of N concepts.
        class_features: [N, S, T, d], S class prompts a concept.

    Returns:
        [N], the mean over prompts, keys and values.

    Source: METHOD 4, equation of L_cpp.
    """
    return _means(projections, class_features, _ALL)[0]


def edit_prior_loss(projections: TextProjections, edit_features: Tensor) -> Tensor:
    """L_epp: how far the edit moves the *keys* of edit prompts; values stay free.

    Where a word attends is held (layout), what it brings is not (appearance).

    Args:
        projections: with an edit of N concepts.
        edit_features: [N, S, T, d], S edit prompts a concept, with the identifier.

    Returns:
        [N], the mean over prompts and keys.

    Source: METHOD 4, equation of L_epp.
    """
    return _means(projections, edit_features, _KEYS)[0]


def prior_losses(
    projections: TextProjections, class_features: Tensor, edit_features: Tensor
) -> tuple[Tensor, Tensor]:
    """L_cpp and L_epp at once, which costs little more than one of them.

    Args:
        projections: as of both.
        class_features: as of `class_prior_loss`.
        edit_features: as of `edit_prior_loss`, in the shape of the others.

    Returns:
        Two of [N].
    """
    both = torch.cat([class_features, edit_features], dim=1)
    of_class, of_edit = _means(projections, both, _ALL, _KEYS)
    return of_class, of_edit


def context_loss(projections: TextProjections, context_features: Tensor) -> Tensor:
    """How far the edit moves keys and values of the words around the concept.

        mean over prompts, keys and values m of || dW_m c_j || over the context's rows j

    Args:
        projections: with an edit of N concepts.
        context_features: [N, S, T, d], S edit prompts a concept; 0 in the rows of the identifier
            and its noun.

    Returns:
        [N].

    Source: METHOD 9, textreg context.
    """
    return _means(projections, context_features, _ALL)[0]


def weight_energy(edit: LowRankEdit) -> Tensor:
    """||dW_m||^2 = s^2 tr((B'B)(A A')) of every projection, [N, M]; dW is not formed."""
    return _energy(edit, torch.einsum("nmrd,nmqd->nmrq", edit.down, edit.down))


def factor_energy(edit: LowRankEdit) -> Tensor:
    """||A_m||^2 + ||B_m||^2 of every projection, [N, M]; Source: 2505.19519."""
    ups = [up.square().sum((-2, -1)) for up in edit.by_width(edit.up)]
    return edit.down.square().sum((-2, -1)) + torch.cat(ups, dim=1)


def gram(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """Pooled Gram matrix G = sum_p w_p c_p' c_p of a prompt pool.

    Args:
        features: c of each prompt, [N, P, T, d].
        weights: w_p, [P], sum 1; none: equal.

    Returns:
        [N, d, d]. With the squared norm it stands for the whole pool exactly.
    """
    if weights is None:
        weights = features.new_full((features.shape[1],), 1 / features.shape[1])
    return torch.einsum("nptd,npte,p->nde", features, features, weights.to(features))


def edit_energy(edit: LowRankEdit, pooled: Tensor) -> Tensor:
    """E_p ||dW_m c(p)^T||^2 = s^2 tr((B'B)(A G A')) of every projection.

    Args:
        edit: of N concepts.
        pooled: G, [N, d, d].

    Returns:
        [N, M], projections in the edit's own order.

    Source: METHOD 5.
    """
    inner = torch.einsum("nmrd,nde,nmqe->nmrq", edit.down, pooled.to(edit.down.dtype), edit.down)
    return _energy(edit, inner)


def _energy(edit: LowRankEdit, inner: Tensor) -> Tensor:
    """s^2 tr((B'B) X) of every projection, [N, M], from X, [N, M, r, r]."""
    outer = edit.squares(edit.up, edit.up.dtype)
    return edit.scale**2 * (outer * inner).sum((-2, -1))


def squared_prior_loss(projections: TextProjections, pooled: Tensor, *, keys_only: bool) -> Tensor:
    """The squared form of a term, exact over its whole pool: mean over layers of E_p R_m(p)^2.

    Args:
        projections: with an edit of N concepts.
        pooled: G of the pool, [N, d, d].
        keys_only: as in the edit-prior term; otherwise keys and values.

    Returns:
        [N].
    """
    edit = _edit_of(projections)
    every = (_KEYS if keys_only else _ALL,)
    weights = _weights(tuple(edit.places), 1, every, 1.0, pooled.device)
    return (edit_energy(edit, pooled) @ weights.to(edit.down.dtype)).squeeze(1)


def pinned_basis(features: Tensor) -> Tensor:
    """U: orthonormal basis of all rows of some text features, at full numerical rank.

    Args:
        features: [..., d], rows of the class and null prompts.

    Returns:
        [d, rank] float64.

    Source: METHOD 5, hard mode.
    """
    rows = features.reshape(-1, features.shape[-1]).double()
    _, sizes, basis = torch.linalg.svd(rows, full_matrices=False)
    tolerance = sizes.max() * max(rows.shape) * torch.finfo(features.dtype).eps
    return basis[sizes > tolerance].mT.contiguous()


def free_basis(pinned: Tensor) -> Tensor:
    """V: orthonormal basis of all that some orthonormal directions [d, rank] leave.

    Returns:
        [d, d - rank].
    """
    return torch.linalg.qr(pinned, mode="complete")[0][:, pinned.shape[1] :].contiguous()


class ProjectOut:
    """A <- A (I - U U') of every concept: then dW c = 0 for every row c in the span of its U.

    Where V, what U leaves, is the smaller, A V V' is computed instead, which is the same. In
    float64, as products of float32 may be set to be coarser.
    """

    def __init__(self, pinned: Sequence[Tensor]):
        """Prepare for the concepts of an edit; `pinned`: U of each, [d, rank] float64."""
        ranks = [basis.shape[1] for basis in pinned]
        # By the smaller of the two: of a wide text encoder they are tens of MiB a concept.
        self._onto = pinned[0].shape[0] - min(ranks) < max(ranks)
        bases = [free_basis(basis) if self._onto else basis for basis in pinned]
        most = max(basis.shape[1] for basis in bases)
        # Directions that are zero, and change nothing, make them one stack.
        self._bases = torch.stack([pad(basis, (0, most - basis.shape[1])) for basis in bases])

    @torch.no_grad()
    def __call__(self, edit: LowRankEdit) -> None:
        """Change the edit's A, [N, M, r, d], in place."""
        down = edit.down.flatten(1, 2)
        wide = down.double()
        found = (wide @ self._bases) @ self._bases.mT
        down.copy_(found if self._onto else wide - found)
