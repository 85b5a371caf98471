"""The two terms against loops that form dW; gradients; the squared form; hard mode (METHOD 4-5)."""

import copy

import pytest
import torch
from torch import Tensor

from textreg.method.text_projections import LowRankEdit, TextProjections
from textreg.method.text_regularizer import (
    ProjectOut,
    class_prior_loss,
    edit_energy,
    edit_prior_loss,
    free_basis,
    gram,
    pinned_basis,
    squared_prior_loss,
)

# K, V alternate; two widths, not in pairs, so that the order in which they stand matters.
WIDTHS = (3, 5, 5, 3, 3, 3)
D, RANK, SCALE = 7, 2, 0.5
DOUBLE = torch.float64


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def with_edit(concepts: int = 2, *, zero: bool = False) -> tuple[TextProjections, LowRankEdit]:
    names = [f"{m // 2}.attn2.{'to_v' if m % 2 else 'to_k'}" for m in range(len(WIDTHS))]
    projections = TextProjections(names, WIDTHS, random_tensor(sum(WIDTHS), D))
    edit = projections.new_edit(RANK, concepts, SCALE)
    with torch.no_grad():
        edit.down.copy_(random_tensor(*edit.down.shape, seed=1))
        edit.up.copy_(0 * edit.up if zero else random_tensor(*edit.up.shape, seed=3))
    return projections.with_edit(edit), edit


def weight_change(edit: LowRankEdit, concept: int, m: int) -> Tensor:
    """dW_m = s B_m A_m, formed."""
    up = edit.each(edit.up)[m][concept].mT
    return SCALE * up @ edit.down[concept, edit.places[m]]


def slow_term(edit: LowRankEdit, features: Tensor, *, keys_only: bool, power: int = 1) -> Tensor:
    """The mean of ||dW_m c^T||^power over prompts and projections, one after the other."""
    means = []
    for n in range(len(features)):
        values = []
        for prompt in features[n]:
            for m in range(0, len(WIDTHS), 2 if keys_only else 1):
                change = weight_change(edit, n, m)
                total = sum(float((change @ row).square().sum().detach()) for row in prompt)
                values.append(total ** (power / 2))
        means.append(sum(values) / len(values))
    return torch.tensor(means, dtype=DOUBLE)


@pytest.mark.parametrize("samples", [1, 3])
def test_terms_are_the_slow_loops(samples: int) -> None:
    projections, edit = with_edit()
    features = random_tensor(2, samples, 4, D, seed=2)
    torch.testing.assert_close(
        class_prior_loss(projections, features), slow_term(edit, features, keys_only=False)
    )
    torch.testing.assert_close(
        edit_prior_loss(projections, features), slow_term(edit, features, keys_only=True)
    )


def test_concepts_do_not_mix() -> None:
    projections, _ = with_edit()
    features = random_tensor(2, 1, 4, D, seed=2)
    before = class_prior_loss(projections, features)
    features[1] *= 5
    after = class_prior_loss(projections, features)
    torch.testing.assert_close(after, before * torch.tensor([1, 5], dtype=DOUBLE))


@pytest.mark.parametrize("left", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_in_float32_a_norm_that_cancels_is_as_good_as_the_plain_one(
    left: float, size: float
) -> None:
    """B A c is small where neither B nor A c is, as B has learned to leave a text alone."""
    _, edit = with_edit(1)
    features = random_tensor(1, 1, 1, D, seed=2)
    with torch.no_grad():
        for place, up in zip(edit.places, edit.each(edit.up), strict=True):
            low = edit.down[0, place] @ features[0, 0, 0]
            along = torch.outer(low, low) / low.square().sum()
            up[0].copy_(size * (up[0] - (1 - left) * along @ up[0]))
    found: list[list[Tensor]] = []
    for dtype in (torch.float32, DOUBLE):
        # float64 computes with the numbers that float32 holds.
        given = copy.deepcopy(edit).float().to(dtype)
        projections = TextProjections(["k"] * len(WIDTHS), WIDTHS, features[0, 0]).with_edit(given)
        value = class_prior_loss(projections, features.float().to(dtype))
        value.sum().backward()
        found.append([value.detach(), *(p.grad for p in given.parameters() if p.grad is not None)])
    for single, double in zip(*found, strict=True):
        off = (single - double).norm() / double.norm()
        assert off < 1e-6 / left


@pytest.mark.parametrize("term", [class_prior_loss, edit_prior_loss])
def test_gradient_at_the_zero_edit_is_zero_not_nan(term: object) -> None:
    projections, edit = with_edit(zero=True)
    assert callable(term)
    loss = term(projections, random_tensor(2, 2, 4, D))
    assert torch.equal(loss, torch.zeros(2, dtype=DOUBLE))
    loss.sum().backward()
    for name, parameter in edit.named_parameters():
        assert parameter.grad is not None, name
        assert torch.equal(parameter.grad, torch.zeros_like(parameter)), name


def test_only_a_norm_that_is_zero_has_no_gradient() -> None:
    projections, edit = with_edit()
    features = random_tensor(2, 1, 4, D)
    with torch.no_grad():
        edit.each(edit.up)[2][0] = 0
        edit.down[1, edit.places[0]] = 0
    class_prior_loss(projections, features).sum().backward()
    assert edit.down.grad is not None
    moved = edit.down.grad.abs().amax((-2, -1)) > 0
    assert (~moved).nonzero().tolist() == [[0, edit.places[2]], [1, edit.places[0]]]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in edit.parameters())


@pytest.mark.parametrize("keys_only", [False, True])
def test_squared_gradient_at_the_zero_edit_is_zero(keys_only: bool) -> None:
    projections, edit = with_edit(zero=True)
    pooled = gram(random_tensor(2, 3, 4, D))
    squared_prior_loss(projections, pooled, keys_only=keys_only).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in edit.parameters())


def test_gradients_away_from_zero_are_the_derivatives() -> None:
    projections, edit = with_edit()
    features = random_tensor(2, 2, 4, D, seed=2)
    pooled = gram(features)

    def terms(*_: Tensor) -> tuple[Tensor, ...]:
        return (
            class_prior_loss(projections, features),
            edit_prior_loss(projections, features),
            squared_prior_loss(projections, pooled, keys_only=False),
            squared_prior_loss(projections, pooled, keys_only=True),
        )

    assert torch.autograd.gradcheck(terms, tuple(edit.parameters()), fast_mode=True)


@pytest.mark.parametrize("form", ["norm", "squared"])
def test_edit_prior_gives_values_no_gradient(form: str) -> None:
    projections, edit = with_edit()
    features = random_tensor(2, 2, 4, D, seed=2)
    if form == "norm":
        edit_prior_loss(projections, features).sum().backward()
    else:
        squared_prior_loss(projections, gram(features), keys_only=True).sum().backward()
    assert edit.down.grad is not None
    assert edit.up.grad is not None
    for m, (place, of_up) in enumerate(zip(edit.places, edit.each(edit.up.grad), strict=True)):
        is_value = m % 2 == 1
        assert bool((edit.down.grad[:, place] == 0).all()) is is_value
        assert bool((of_up == 0).all()) is is_value


@pytest.mark.parametrize("keys_only", [False, True])
def test_squared_form_is_the_mean_of_the_squared_norms(keys_only: bool) -> None:
    projections, edit = with_edit()
    pool = random_tensor(2, 5, 4, D, seed=3)
    torch.testing.assert_close(
        squared_prior_loss(projections, gram(pool), keys_only=keys_only),
        slow_term(edit, pool, keys_only=keys_only, power=2),
    )


def test_gram_is_the_weighted_sum_of_outer_products() -> None:
    pool, weights = random_tensor(2, 3, 4, D), torch.tensor([0.5, 0.3, 0.2], dtype=DOUBLE)
    by_hand = torch.zeros(2, D, D, dtype=DOUBLE)
    for n in range(2):
        for p in range(3):
            for row in pool[n, p]:
                by_hand[n] += weights[p] * torch.outer(row, row)
    torch.testing.assert_close(gram(pool, weights), by_hand)


def test_energy_is_the_squared_norm_of_each_projection() -> None:
    _, edit = with_edit()
    pool = random_tensor(2, 1, 4, D)
    energy = edit_energy(edit, gram(pool))
    for n in range(2):
        for m in range(len(WIDTHS)):
            wanted = (weight_change(edit, n, m) @ pool[n, 0].T).square().sum()
            torch.testing.assert_close(energy[n, edit.places[m]], wanted)


def test_nothing_to_regularise_without_an_edit() -> None:
    projections, _ = with_edit()
    bare = TextProjections(projections.names, projections.widths, projections.weight)
    with pytest.raises(ValueError, match=r"set projections\.edit first"):
        class_prior_loss(bare, random_tensor(1, 1, 4, D))


def test_basis_spans_exactly_the_rows() -> None:
    rows = random_tensor(3, D)
    features = torch.cat([rows, rows[:2] * 2, rows[:1] + rows[1:2]]).reshape(2, 3, D)
    basis = pinned_basis(features)
    assert basis.shape == (D, 3)
    torch.testing.assert_close(basis.T @ basis, torch.eye(3, dtype=DOUBLE))
    torch.testing.assert_close(rows @ basis @ basis.T, rows)


def test_a_direction_however_weak_is_pinned() -> None:
    rows = torch.eye(D, dtype=DOUBLE)[:3] * torch.tensor([[1.0], [1e-5], [1e-9]], dtype=DOUBLE)
    assert pinned_basis(rows[None]).shape == (D, 3)


def test_projecting_out_holds_the_pinned_rows_and_nothing_else() -> None:
    projections, edit = with_edit()
    pinned, free = random_tensor(2, 1, 3, D), random_tensor(2, 1, 3, D, seed=5)
    bases = [pinned_basis(own) for own in pinned]
    before = edit.down.detach().clone()
    project_out = ProjectOut(bases)
    project_out(edit)
    once = edit.down.detach().clone()
    assert (class_prior_loss(projections, pinned) < 1e-14).all()
    for others in (pinned.flip(0), free):
        assert (class_prior_loss(projections, others) > 1e-2).all()
    for n, basis in enumerate(bases):
        torch.testing.assert_close(
            once[n], before[n] @ (torch.eye(D, dtype=DOUBLE) - basis @ basis.T)
        )
    project_out(edit)
    torch.testing.assert_close(edit.down.detach(), once, rtol=0, atol=1e-14)


# Few and many: out of what is pinned, or on what is free; of one size or not.
@pytest.mark.parametrize("rows", [(0, 0), (0, 2), (2, 3), (5, 5), (1, 6), (D, D)])
def test_concepts_are_projected_at_once_as_one_by_one(rows: tuple[int, int]) -> None:
    _, edit = with_edit()
    bases = [pinned_basis(random_tensor(n, D)) if n else random_tensor(D, 0) for n in rows]
    wanted = [
        down @ (torch.eye(D, dtype=DOUBLE) - basis @ basis.T)
        for down, basis in zip(edit.down.detach(), bases, strict=True)
    ]
    ProjectOut(bases)(edit)
    torch.testing.assert_close(edit.down.detach(), torch.stack(wanted))


@pytest.mark.parametrize("rows", [0, 2, 5, D])
def test_what_is_free_is_all_that_is_not_pinned(rows: int) -> None:
    basis = pinned_basis(random_tensor(rows, D)) if rows else random_tensor(D, 0)
    free = free_basis(basis)
    assert free.shape == (D, D - rows)
    whole = torch.cat([basis, free], dim=1)
    torch.testing.assert_close(whole.T @ whole, torch.eye(D, dtype=DOUBLE))
