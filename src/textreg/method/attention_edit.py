"""Low-rank edits of attention's other projections, which act inside the denoiser.

What text gives is edited outside it (text_projections.py). Queries, outputs, and all of the
picture's attention to itself depend on x_t and t, so their edit has to act where they are:

    y = W x + s B_n A_n x    for the samples of concept n

    N concepts, S samples each, P positions, r rank, i and o widths of a projection
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from textreg.method.host_copy import on_device

Placement = Literal["cross-kv", "self", "cross+self", "full"]
"""As textreg.config has it, which this package does not know."""
Shapes = dict[str, tuple[int, int]]
"""(o, i) by projection name, in module order."""
_PROJECTION = re.compile(r"(attn1\.to_[qkv]|attn2\.to_q|attn[12]\.to_out\.0)$")
_PLACES: dict[Placement, re.Pattern[str]] = {
    "cross-kv": re.compile(r"attn2\.to_[kv]$"),
    "self": re.compile(r"attn1\."),
    "cross+self": re.compile(r"attn2\.to_[kv]$|attn1\."),
    "full": re.compile(r"attn[12]\."),
}


def attention_shapes(denoiser: nn.Module) -> Shapes:
    """The projections of a diffusers UNet's attention that text does not decide."""
    return {
        name: (module.out_features, module.in_features)
        for name, module in denoiser.named_modules()
        if _PROJECTION.search(name) and isinstance(module, nn.Linear)
    }


def placed(names: Iterable[str], placement: Placement) -> list[str]:
    """Those of some projections that a placement edits."""
    return [name for name in names if _PLACES[placement].search(name)]


def placement_of(names: Iterable[str]) -> Placement:
    """The smallest placement that edits all of these projections of the denoiser."""
    given = [name for name in names if "attn1." in name or "attn2." in name]
    order: tuple[Placement, ...] = ("cross-kv", "self", "cross+self")
    for placement in order:
        if len(placed(given, placement)) == len(given):
            return placement
    return "full"


class AttentionEdit(nn.Module):
    """A and B of every projection and concept; B, and so the edit, starts at 0.

    Projections of one shape share a tensor: `down` holds A by shape, [N, those, r, i], `up` holds
    B, [N, those, o, r].
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, int]], rank: int, concepts: int, scale: float
    ):
        super().__init__()
        largest = min(min(shape) for shape in shapes.values())
        if rank > largest:
            raise ValueError(f"rank {rank} is too large for this base; the most is {largest}")
        self.rank, self.scale = rank, scale
        members: dict[tuple[int, int], list[str]] = {}
        for name, shape in shapes.items():
            members.setdefault(shape, []).append(name)
        self.places = {
            name: (f"{shape[0]}x{shape[1]}", members[shape].index(name))
            for name, shape in shapes.items()
        }
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for (out, width), names in members.items():
            key = f"{out}x{width}"
            self.down[key] = nn.Parameter(torch.zeros(concepts, len(names), rank, width))
            self.up[key] = nn.Parameter(torch.zeros(concepts, len(names), out, rank))

    @torch.no_grad()
    def initialise(self, generators: Sequence[torch.Generator]) -> None:
        """A ~ N(0, std 1/r) from each concept's own generator, B = 0, as of the text's edit."""
        for n, random in enumerate(generators):
            for down in self.down.values():
                down[n].copy_(torch.randn(down.shape[1:], generator=random) / self.rank)
        for up in self.up.values():
            up.zero_()

    def of(self, concepts: Sequence[int]) -> Edited:
        """The edit of a batch with as many samples of each of these concepts, in this order."""
        return Edited(self, list(concepts))

    def factors(self, concept: int) -> dict[str, tuple[Tensor, Tensor]]:
        """(A [r, i], B [o, r]) by name, the scale multiplied into B; detached."""
        return {
            name: (
                self.down[key][concept, place].detach(),
                self.scale * self.up[key][concept, place].detach(),
            )
            for name, (key, place) in self.places.items()
        }

    @torch.no_grad()
    def load_factors(self, concept: int, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Set one concept's A and B; the inverse of `factors`."""
        for name, (key, place) in self.places.items():
            down, up = pairs[name]
            self.down[key][concept, place].copy_(down)
            self.up[key][concept, place].copy_(up / self.scale)


class Edited:
    """The edit as the denoiser's attention calls it."""

    def __init__(self, edit: AttentionEdit, concepts: list[int]):
        self._places, self._scale, self._count = edit.places, edit.scale, len(concepts)
        self._down, self._up = _apart(edit.down, concepts), _apart(edit.up, concepts)

    def __call__(self, name: str, given: Tensor, result: Tensor) -> Tensor:
        """What a projection gives, with the edit if it has one.

        Args:
            name: of the projection.
            given: x, [N S, P, i].
            result: W x, [N S, P, o].
        """
        place = self._places.get(name)
        if place is None:
            return result
        key, index = place
        down, up = self._down[key][index], self._up[key][index]
        # A bmm by concept; in the edit's precision, as peft does.
        rows = given.to(down.dtype).reshape(self._count, -1, given.shape[-1])
        edit = self._scale * (rows @ down.mT @ up.mT)
        return result + edit.reshape(result.shape).to(result.dtype)


def _apart(stacks: nn.ParameterDict, concepts: list[int]) -> dict[str, tuple[Tensor, ...]]:
    """Each projection's own [concepts, ...] of stacks [N, those of a shape, ...], by shape.

    Once for a pass: the gradient of one slice is as large as all.
    """
    found: dict[str, tuple[Tensor, ...]] = {}
    for key, stack in stacks.items():
        # Of all of them as views: a copy is for those that are left out, or in another order.
        if concepts != list(range(len(stack))):
            stack = stack[on_device(torch.tensor(concepts), stack.device)]
        found[key] = stack.unbind(1)
    return found
