"""What stage 2 trains of N concepts: the edit of what text gives, and of attention elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textreg.config import Placement
from textreg.errors import UserError
from textreg.method.attention_edit import AttentionEdit, placed
from textreg.method.text_projections import LowRankEdit, TextProjections
from textreg.randomness import generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Edits:
    """Either part is none where the placement has nothing of it."""

    text: LowRankEdit | None
    attention: AttentionEdit | None

    @classmethod
    def of(
        cls,
        projections: TextProjections,
        placement: Placement,
        rank: int,
        concepts: int = 1,
        scale: float = 1.0,
    ) -> Edits:
        """Zero edits of a base's shapes.

        Raises:
            UserError: the rank is larger than the smallest side of a projection.
        """
        names = placed(projections.elsewhere, placement)
        shapes = {name: projections.elsewhere[name] for name in names}
        text = attention = None
        try:
            if placed(projections.names, placement):
                text = projections.new_edit(rank, concepts, scale)
            if shapes:
                attention = AttentionEdit(shapes, rank, concepts, scale)
        except ValueError as error:
            raise UserError(f"--rank: {error}") from None
        if attention is not None:
            attention = attention.to(projections.weight.device, projections.weight.dtype)
        return cls(text=text, attention=attention)

    @property
    def drifting(self) -> LowRankEdit | None:
        """The text's edit if nothing else is edited: only then is its text shift the drift."""
        return self.text if self.attention is None else None

    def put_in(self, projections: TextProjections) -> TextProjections:
        """The base's projections with these edits."""
        return projections.with_edit(self.text, self.attention)

    def parameters(self) -> dict[str, nn.Parameter]:
        """A and B of every projection; the first dimension of each is the concept."""
        own = {} if self.text is None else dict(self.text.named_parameters())
        if self.attention is not None:
            own |= {f"attention.{name}": p for name, p in self.attention.named_parameters()}
        return own

    @torch.no_grad()
    def with_values(self, values: Mapping[str, Tensor]) -> Edits:
        """A copy with these values of `parameters`, by name; it does not train."""
        copied = copy.deepcopy(self)
        for name, parameter in copied.parameters().items():
            parameter.requires_grad_(False).copy_(values[name])
        return copied

    def initialise(self, seed: int, concepts: Sequence[str]) -> None:
        """Each concept's A from its own random stream, B = 0."""
        if self.text is not None:
            self.text.initialise([generator(seed, name, "edit") for name in concepts])
        if self.attention is not None:
            streams = [generator(seed, name, "attention edit") for name in concepts]
            self.attention.initialise(streams)

    def factors(self, concept: int, names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
        """One concept's (A, B) by projection name, the scale multiplied into B.

        Args:
            concept: its place.
            names: of the text's projections.
        """
        found: dict[str, tuple[Tensor, Tensor]] = {}
        if self.text is not None:
            found |= zip(names, self.text.factors(concept), strict=True)
        if self.attention is not None:
            found |= self.attention.factors(concept)
        return found

    def load(
        self, concept: int, names: Sequence[str], pairs: Mapping[str, tuple[Tensor, Tensor]]
    ) -> None:
        """The inverse of `factors`."""
        if self.text is not None:
            self.text.load_factors(concept, [pairs[name] for name in names])
        if self.attention is not None:
            self.attention.load_factors(concept, pairs)
