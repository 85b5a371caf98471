"""Keys and values against W c + s B A c by hand; what trains, exactly (METHOD 4)."""

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from random_base import _SD15
from torch import Tensor, nn

from textreg.method.text_projections import LowRankEdit, TextProjections

NAMES = ("a.attn2.to_k", "a.attn2.to_v", "b.attn2.to_k", "b.attn2.to_v", "c.attn2.to_k")
WIDTHS = (3, 3, 5, 5, 3)
FEATURES = 7


def random_edit(concepts: int = 2, rank: int = 2, scale: float = 0.5) -> LowRankEdit:
    edit = LowRankEdit(WIDTHS, FEATURES, rank, concepts, scale).double()
    random = torch.Generator().manual_seed(0)
    for parameter in edit.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=random, dtype=torch.float64))
    return edit


@pytest.fixture
def projections() -> TextProjections:
    weight = torch.randn(sum(WIDTHS), FEATURES, dtype=torch.float64)
    return TextProjections(NAMES, WIDTHS, weight, random_edit())


def test_every_key_and_value_is_the_formula(projections: TextProjections) -> None:
    edit = projections.edit
    assert edit is not None
    features = torch.randn(2, 3, 4, FEATURES, dtype=torch.float64)  # N, S, T, d
    given = projections(features)
    edits = edit(features)
    frozen = projections.weight.split(WIDTHS)
    ups = edit.each(edit.up)
    for m, width in enumerate(WIDTHS):
        assert given[m].shape == (2 * 3, 4, width)
        for n in range(2):
            down, up = edit.down[n, edit.places[m]], ups[m][n].mT
            for s in range(3):
                change = 0.5 * up @ down @ features[n, s].T
                torch.testing.assert_close(edits[m][n, s], change.T)
                key = (frozen[m] @ features[n, s].T + change).T
                torch.testing.assert_close(given[m][n * 3 + s], key)


def test_places_count_every_projection_once(projections: TextProjections) -> None:
    edit = projections.edit
    assert edit is not None
    assert edit.places == [0, 1, 3, 4, 2]
    assert {name: tuple(p.shape) for name, p in edit.named_parameters()} == {
        "down": (2, 5, 2, 7),
        "up": (2, 2 * sum(WIDTHS)),
    }
    assert [tuple(x.shape) for x in edit.by_width(edit.up)] == [(2, 3, 2, 3), (2, 2, 2, 5)]
    taken = torch.cat([x.flatten(1) for x in edit.by_width(edit.up)], dim=1)
    assert torch.equal(taken, edit.up)
    assert [x.shape[2] for x in edit.each(edit.up)] == list(WIDTHS)


def test_factors_are_the_edit_and_load_back(projections: TextProjections) -> None:
    edit = projections.edit
    assert edit is not None
    other = LowRankEdit(WIDTHS, FEATURES, rank=2, concepts=2, scale=4.0).double()
    features = torch.randn(2, 1, 4, FEATURES, dtype=torch.float64)
    for n in range(2):
        pairs = edit.factors(n)
        for (down, up), change in zip(pairs, edit(features), strict=True):
            torch.testing.assert_close((up @ down @ features[n, 0].T).T, change[n, 0])
        other.load_factors(n, pairs)
    for there, here in zip(other(features), edit(features), strict=True):
        torch.testing.assert_close(there, here)


def test_first_edit_is_zero_and_each_concepts_own() -> None:
    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    both, alone = LowRankEdit((64,) * 8, 512, 4, 2), LowRankEdit((64,) * 8, 512, 4, 1)
    both.initialise(generators(1, 2))
    alone.initialise(generators(2))
    assert torch.equal(both.down[1], alone.down[0])
    assert both.down.std().item() == pytest.approx(1 / 4, rel=0.02)
    assert abs(both.down.mean().item()) < 0.01
    assert not both.up.any()
    assert all(not e.any() for e in both(torch.randn(2, 1, 3, 512)))


def test_with_edit_shares_the_frozen_weights(projections: TextProjections) -> None:
    other = projections.with_edit(random_edit())
    assert other.weight.data_ptr() == projections.weight.data_ptr()
    assert not any(name == "weight" for name, _ in other.named_parameters())


def test_sd15_has_the_published_parameters() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**_SD15["unet"])
    projections = TextProjections.from_denoiser(unet)
    counts = [(320, 4), (640, 4), (1280, 10), (640, 6), (320, 6), (1280, 2)]
    assert list(projections.widths) == [width for width, count in counts for _ in range(count)]
    down = [f"down_blocks.{i}.attentions.{j}" for i in (0, 1, 2) for j in (0, 1)]
    up = [f"up_blocks.{i}.attentions.{j}" for i in (1, 2, 3) for j in (0, 1, 2)]
    assert list(projections.names) == [
        f"{block}.transformer_blocks.0.attn2.{part}"
        for block in [*down, *up, "mid_block.attentions.0"]
        for part in ("to_k", "to_v")
    ]
    edit = projections.new_edit(10)
    assert {name: tuple(p.shape) for name, p in edit.named_parameters()} == {
        "down": (1, 32, 10, 768),
        "up": (1, 10 * (10 * 320 + 10 * 640 + 12 * 1280)),
    }
    assert sum(p.numel() for p in edit.parameters()) == 495_360


def test_a_rank_no_projection_has_is_refused(projections: TextProjections) -> None:
    assert projections.new_edit(3).rank == 3
    with pytest.raises(ValueError, match="rank 4 is too large for this base; the most is 3"):
        projections.new_edit(4)


class Block(nn.Module):
    def __init__(self, **options: Any):
        super().__init__()
        self.attn2 = nn.Module()
        self.attn2.to_k = nn.Linear(4, 6, **options)
        self.attn2.to_v = nn.Linear(4, 6, **options)


def test_projections_that_are_not_linear_in_the_text_are_refused() -> None:
    with pytest.raises(ValueError, match="have a bias"):
        TextProjections.from_denoiser(Block(bias=True))
    with pytest.raises(ValueError, match="text cannot reach it"):
        TextProjections.from_denoiser(nn.Linear(2, 2))


def test_gathered_weights_are_copies() -> None:
    block = Block(bias=False)
    kept: Tensor = block.attn2.to_k.weight.detach().clone()
    projections = TextProjections.from_denoiser(block)
    projections.weight.zero_()
    assert torch.equal(block.attn2.to_k.weight, kept)
