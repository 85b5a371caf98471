"""What stage 2 trains of N concepts: edits of what text gives, attention elsewhere, the encoder."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textreg.config import Placement, Tuning
from textreg.errors import UserError
from textreg.method.attention_edit import AttentionEdit, placed
from textreg.method.text_projections import LowRankEdit, TextProjections
from textreg.randomness import generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Edits:
    """A part is none where nothing of it is edited."""

    text: LowRankEdit | None
    attention: AttentionEdit | None
    encoder: AttentionEdit | None = None
    """Of the text encoders' own attention."""

    @classmethod
    def of(
        cls,
        projections: TextProjections,
        placement: Placement,
        rank: int,
        concepts: int = 1,
        scale: float = 1.0,
        encoder_rank: int = 0,
    ) -> Edits:
        """Zero edits of a base's shapes.

        Raises:
            UserError: a rank is larger than the smallest side of a projection.
        """
        names = placed(projections.elsewhere, placement)
        shapes = {name: projections.elsewhere[name] for name in names}
        text = attention = encoder = None
        flag = "--rank"
        try:
            if placed(projections.names, placement):
                text = projections.new_edit(rank, concepts, scale)
            if shapes:
                attention = AttentionEdit(shapes, rank, concepts, scale)
            if encoder_rank:
                flag = "--text-encoder-rank"
                encoder = AttentionEdit(projections.encoders, encoder_rank, concepts, scale)
        except ValueError as error:
            raise UserError(f"{flag}: {error}") from None
        for part in (attention, encoder):
            if part is not None:
                part.to(projections.weight.device, projections.weight.dtype)
        return cls(text=text, attention=attention, encoder=encoder)

    @classmethod
    def of_run(cls, projections: TextProjections, tuning: Tuning, concepts: int = 1) -> Edits:
        """As `of`, by a run's settings."""
        return cls.of(
            projections,
            tuning.placement,
            tuning.rank,
            concepts,
            encoder_rank=tuning.text_encoder_rank,
        )

    @classmethod
    def carried(cls, projections: TextProjections) -> Edits:
        """Those that some projections carry: the inverse of `put_in`."""
        return cls(
            text=projections.edit, attention=projections.attention, encoder=projections.encoder
        )

    @property
    def drifting(self) -> LowRankEdit | None:
        """The text's edit if nothing else is edited: only then is its text shift the drift."""
        return self.text if self.attention is None and self.encoder is None else None

    def put_in(self, projections: TextProjections) -> TextProjections:
        """The base's projections with these edits."""
        return projections.with_edit(self.text, self.attention, self.encoder)

    def parameters(self) -> dict[str, nn.Parameter]:
        """A and B of every projection; the first dimension of each is the concept."""
        own = {} if self.text is None else dict(self.text.named_parameters())
        for where, edit in self._elsewhere.items():
            own |= {f"{where}.{name}": p for name, p in edit.named_parameters()}
        return own

    @property
    def _elsewhere(self) -> dict[str, AttentionEdit]:
        """The parts that act where they are, by name."""
        parts = {"attention": self.attention, "encoder": self.encoder}
        return {name: part for name, part in parts.items() if part is not None}

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
        for where, edit in self._elsewhere.items():
            edit.initialise([generator(seed, name, f"{where} edit") for name in concepts])

    def factors(self, concept: int, names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
        """One concept's (A, B) by projection name, the scale multiplied into B.

        Args:
            concept: its place.
            names: of the text's projections.
        """
        found: dict[str, tuple[Tensor, Tensor]] = {}
        if self.text is not None:
            found |= zip(names, self.text.factors(concept), strict=True)
        for edit in self._elsewhere.values():
            found |= edit.factors(concept)
        return found

    def load(
        self, concept: int, names: Sequence[str], pairs: Mapping[str, tuple[Tensor, Tensor]]
    ) -> None:
        """The inverse of `factors`."""
        if self.text is not None:
            self.text.load_factors(concept, [pairs[name] for name in names])
        for edit in self._elsewhere.values():
            edit.load_factors(concept, pairs)
