"""Weights in one stretch of memory: the same numbers in the same layout."""

import mmap
from itertools import pairwise

import pytest
import torch
from torch import nn

from textreg.method.weights_together import lay_together


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
        self.linear = nn.Linear(7, 3, bias=False).bfloat16()
        self.again = self.linear
        self.norm = nn.LayerNorm(5).double().requires_grad_(False)


@pytest.mark.parametrize("large", [True, False])
def test_nothing_but_the_place_of_weights_changes(
    monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    if not large:
        monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    model = Model()
    before = {name: (p, p.detach().clone(), p.stride()) for name, p in model.named_parameters()}
    lay_together(model)
    after = dict(model.named_parameters())
    assert model.again.weight is model.linear.weight
    places: list[tuple[int, int]] = []
    for name, (weight, values, stride) in before.items():
        assert after[name] is weight
        assert (weight.dtype, weight.stride()) == (values.dtype, stride)
        assert torch.equal(weight, values)
        places.append((weight.data_ptr(), weight.nbytes))
    for (first, size), (following, _) in pairwise(places):
        assert first % 64 == 0
        assert 0 <= following - (first + size) < 64
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(
        model.convolution(x),
        nn.functional.conv2d(x, before["convolution.weight"][1], before["convolution.bias"][1]),
    )
    assert not model.norm.weight.requires_grad


def test_where_the_system_gives_no_large_pages_there_are_small_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refused)
    model = Model()
    values = model.linear.weight.detach().clone()
    lay_together(model)
    assert torch.equal(model.linear.weight, values)
