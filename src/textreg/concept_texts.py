"""One concept's prompts as text features of one base: the identifier put in, masked or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from textreg.annotations import Annotation
from textreg.backbone import Backbone, fresh_tokenizer
from textreg.config import Concept, Images, Run
from textreg.errors import UserError
from textreg.instance_prompts import InstancePrompts, PictureChoice
from textreg.method.identifier import add_identifier
from textreg.method.text_features import TextFeatures, Tokens, tokenize
from textreg.method.token_gate import EditedTokens, token_gate
from textreg.out_of_memory import memory_of

_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class ConceptTexts:
    """Reads prompts the way this concept's training does."""

    concept: Concept
    words: str
    """What fills a template's {}: "<krk1> cat", or the identifier alone."""
    tokenizer: Any
    identifier_id: int
    backbone: Backbone
    instance: InstancePrompts
    vectors: int = 1
    """Word vectors of the identifier."""
    _tokenised: dict[tuple[str, ...], Tokens] = field(
        default_factory=dict[tuple[str, ...], Tokens], init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls,
        concept: Concept,
        backbone: Backbone,
        *,
        noun_in_prompts: bool = True,
        instance: InstancePrompts | None = None,
        vectors: int = 1,
    ) -> ConceptTexts:
        """Add the concept's identifier to a tokenizer of its own.

        Raises:
            UserError: the identifier cannot be a new word of this base.
        """
        tokenizer = fresh_tokenizer(backbone)
        try:
            identifier_id = add_identifier(tokenizer, concept.identifier, concept.noun, vectors)
        except ValueError as error:
            raise UserError(str(error)) from None
        return cls(
            concept=concept,
            words=f"{concept.identifier} {concept.noun}" if noun_in_prompts else concept.identifier,
            tokenizer=tokenizer,
            identifier_id=identifier_id,
            backbone=backbone,
            instance=instance or InstancePrompts.of(concept, Images()),
            vectors=vectors,
        )

    @classmethod
    def of_run(
        cls,
        run: Run,
        concept: Concept,
        backbone: Backbone,
        annotations: Sequence[Annotation] = (),
        choice: PictureChoice | None = None,
    ) -> ConceptTexts:
        """As `of`, with the prompts that a run gives the concept.

        Args:
            run: the run.
            concept: one of its concepts.
            backbone: its base.
            annotations: of the concept's pictures.
            choice: draws the pictures; needed to train on captions.
        """
        return cls.of(
            concept,
            backbone,
            noun_in_prompts=not run.inversion.initialise_with_noun,
            instance=InstancePrompts.of(concept, run.images, annotations, choice),
            vectors=run.inversion.vectors,
        )

    def fill(self, templates: Sequence[str]) -> list[str]:
        """Templates with the concept's words in their {}."""
        return [template.replace("{}", self.words) for template in templates]

    def tokens(self, prompts: Sequence[str]) -> Tokens:
        """Tokenise prompts, the same ones once.

        Raises:
            UserError: a prompt is so long that its identifier is cut off.
        """
        pool = tuple(prompts)
        if pool not in self._tokenised:
            noun, count = self.concept.noun, self.vectors
            try:
                found = tokenize(self.tokenizer, list(pool), self.identifier_id, noun, count)
            except ValueError as error:
                raise UserError(str(error)) from None
            self._tokenised[pool] = found
        return self._tokenised[pool]

    def gate(self, prompts: Sequence[str], edited: EditedTokens) -> Tensor | None:
        """The tokens of finished prompts that the edit acts on, [prompts, tokens]; none: all."""
        return token_gate(edited, self.tokens(prompts).is_identifier)

    def features(
        self, prompts: Sequence[str], vector: Tensor | None, *, masked: bool = False
    ) -> Tensor:
        """What the edit reads of finished prompts, [prompts, tokens, width]; as `encoded`."""
        return self.encoded(prompts, vector, masked=masked).tokens

    @memory_of("encoding the prompts", "a lower --batch-concepts")
    @torch.no_grad()
    def encoded(
        self, prompts: Sequence[str], vector: Tensor | None, *, masked: bool = False
    ) -> TextFeatures:
        """Text features of finished prompts.

        Args:
            prompts: with or without the identifier.
            vector: the identifier's, [vectors * width]; none if no prompt has it.
            masked: apply the identifier mask where it can be.
        """
        parts: list[TextFeatures] = []
        for start in range(0, len(prompts), _AT_ONCE):
            tokens = self.tokens(prompts[start : start + _AT_ONCE])
            count = len(tokens.ids)
            if vector is None and bool(tokens.is_identifier.any()):
                raise ValueError(f"a prompt has {self.concept.identifier}, but no vector is given")
            vectors = None if vector is None else vector.expand(count, -1)
            mask = torch.full((count,), masked)
            parts.append(self.backbone.encode(tokens, vectors, mask))
        return TextFeatures.cat(parts)
