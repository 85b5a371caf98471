"""Prompts to text features, with the identifier's vector and mask put in (METHOD 1-3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from textreg.method.host_copy import on_device
from textreg.method.identifier import identifier_tokens
from textreg.method.identifier_mask import identifier_mask
from textreg.method.recorded_passes import RecordedPasses


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Tokenised prompts.

    `ids` and `is_identifier` are [prompts, tokens]; `can_mask` [prompts] says whether the noun
    follows the identifier directly, so that it can be masked.
    """

    ids: Tensor
    is_identifier: Tensor
    can_mask: Tensor
    noun_length: Tensor
    """Tokens of the noun behind the identifier, [prompts]."""
    vectors: int = 1
    """Positions in a row that each identifier has."""

    @property
    def slots(self) -> Tensor:
        """Which of its vectors an identifier's position takes, [prompts, tokens]; -1 elsewhere."""
        return _slots(self.is_identifier, self.vectors)

    def read(
        self, device: torch.device, masked: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What a text encoder on a device is given of them.

        Args:
            device: the encoder's.
            masked: which are masked where they can be, [prompts] bool, on the host.
            dtype: of its numbers.

        Returns:
            ids and slots, [prompts, tokens], and the attention mask [prompts, 1, tokens, tokens].
        """
        ids, where, hidden, length = (
            on_device(x, device)
            for x in (self.ids, self.is_identifier, masked & self.can_mask, self.noun_length)
        )
        mask = identifier_mask(where, length, hidden, dtype, self.vectors)
        return ids, _slots(where, self.vectors), mask

    def rows(self, index: Tensor) -> Tokens:
        """Some of the prompts."""
        return Tokens(
            ids=self.ids[index],
            is_identifier=self.is_identifier[index],
            can_mask=self.can_mask[index],
            noun_length=self.noun_length[index],
            vectors=self.vectors,
        )

    @staticmethod
    def cat(parts: Sequence[Tokens]) -> Tokens:
        """Prompts of several concepts, one after another; all have as many vectors a word."""
        return Tokens(
            ids=torch.cat([p.ids for p in parts]),
            is_identifier=torch.cat([p.is_identifier for p in parts]),
            can_mask=torch.cat([p.can_mask for p in parts]),
            noun_length=torch.cat([p.noun_length for p in parts]),
            vectors=parts[0].vectors,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFeatures:
    """What the denoiser is told of prompts; leading dimensions are the caller's."""

    tokens: Tensor
    """c, [..., T, d]."""
    pooled: Tensor | None = None
    """One vector a prompt beside them, [..., p]; none where a family has none."""

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: Any) -> TextFeatures:
        return TextFeatures(
            tokens=self.tokens[index], pooled=None if self.pooled is None else self.pooled[index]
        )

    def unflatten(self, concepts: int) -> TextFeatures:
        """Prompts of so many concepts, [N S, ...], as [N, S, ...]."""
        return TextFeatures(
            tokens=self.tokens.unflatten(0, (concepts, -1)),
            pooled=None if self.pooled is None else self.pooled.unflatten(0, (concepts, -1)),
        )

    @staticmethod
    def stack(parts: Sequence[TextFeatures], dim: int = 0) -> TextFeatures:
        """As torch.stack, along a leading dimension."""
        return _joined(torch.stack, parts, dim)

    @staticmethod
    def cat(parts: Sequence[TextFeatures], dim: int = 0) -> TextFeatures:
        """As torch.cat, along a leading dimension."""
        return _joined(torch.cat, parts, dim)


def _joined(
    join: Callable[[list[Tensor], int], Tensor], parts: Sequence[TextFeatures], dim: int
) -> TextFeatures:
    pooled = [p.pooled for p in parts if p.pooled is not None]
    return TextFeatures(
        tokens=join([p.tokens for p in parts], dim), pooled=join(pooled, dim) if pooled else None
    )


def _slots(is_identifier: Tensor, vectors: int) -> Tensor:
    return ((is_identifier.cumsum(1) - 1) % vectors).masked_fill(~is_identifier, -1)


def tokenize(
    tokenizer: Any, prompts: list[str], identifier_id: int | None, noun: str, vectors: int = 1
) -> Tokens:
    """Tokenise prompts, padded to the model's length.

    A word of several vectors stands in a prompt as one word, and becomes as many tokens.

    An identifier that the noun does not directly follow stays visible: its row is plainly causal.

    Raises:
        ValueError: the identifier of a prompt was cut off at the model's length, or is found inside
            another word.
    """
    word = "" if identifier_id is None else tokenizer.convert_ids_to_tokens(identifier_id)
    written = [_written(prompt, word, vectors) for prompt in prompts]
    encoded = tokenizer(
        written, padding="max_length", max_length=tokenizer.model_max_length, truncation=True
    )
    ids = torch.tensor(encoded["input_ids"])
    noun_ids = torch.tensor(tokenizer.encode(noun, add_special_tokens=False))
    where = torch.zeros_like(ids).bool()
    if identifier_id is not None:
        where = (ids >= identifier_id) & (ids < identifier_id + vectors)
        # A tokenizer takes an added word out of the middle of others: "oto" would split "photo".
        inside = re.compile(rf"(?<=\w)(?=\w){re.escape(word)}|{re.escape(word)}(?<=\w)(?=\w)")
        for prompt, row in zip(prompts, where, strict=True):
            if inside.search(prompt.lower()):
                raise ValueError(
                    f"identifier {word!r} is part of another word in {prompt!r}; "
                    "choose a word in angle brackets, like '<krk1>'"
                )
            if prompt.lower().count(word) * vectors != int(row.sum()):
                raise ValueError(
                    f"prompt is longer than the {ids.shape[1]} tokens this base reads; "
                    f"the identifier {word!r} is cut off: {prompt!r}"
                )
    follows = torch.ones(len(prompts), dtype=torch.bool)
    for row, position in (_slots(where, vectors) == vectors - 1).nonzero().tolist():
        behind = ids[row, position + 1 : position + 1 + len(noun_ids)]
        follows[row] &= behind.shape == noun_ids.shape and bool((behind == noun_ids).all())
    return Tokens(
        ids=ids,
        is_identifier=where,
        can_mask=follows & where.any(1),
        noun_length=torch.full((len(prompts),), len(noun_ids)),
        vectors=vectors,
    )


def _written(prompt: str, word: str, vectors: int) -> str:
    """A prompt with the texts of all tokens of its word."""
    if not word or vectors == 1:
        return prompt
    several = " ".join(identifier_tokens(word, vectors))
    return re.sub(re.escape(word), lambda _: several, prompt, flags=re.IGNORECASE)


def unread_end(tokenizer: Any, prompt: str, identifier_id: int | None, vectors: int = 1) -> str:
    """What of a prompt lies behind the model's length, as the tokenizer spells it; mostly ""."""
    word = "" if identifier_id is None else tokenizer.convert_ids_to_tokens(identifier_id)
    ids = tokenizer.encode(_written(prompt, word, vectors), verbose=False)
    return tokenizer.decode(ids[tokenizer.model_max_length - 1 : -1]).strip()


def context_rows(tokens: Tokens) -> Tensor:
    """The rows that are neither the identifier nor the noun behind it, [prompts, tokens] bool."""
    rows = ~tokens.is_identifier
    for row, position in (tokens.slots == tokens.vectors - 1).nonzero().tolist():
        if tokens.can_mask[row]:
            rows[row, position + 1 : position + 1 + int(tokens.noun_length[row])] = False
    return rows


def with_word(rows: Tensor, slots: Tensor, vectors: Tensor | None) -> Tensor:
    """Embedding rows with the word's vectors in their places.

    Args:
        rows: [batch, tokens, width].
        slots: which vector a position takes, [batch, tokens]; -1: none.
        vectors: of each sample, [batch, vectors, width]; none: no identifier.
    """
    if vectors is not None:
        for slot in range(vectors.shape[1]):
            own = vectors[:, slot, None].to(rows.dtype)
            rows = torch.where((slots == slot)[..., None], own, rows)
    return rows


def encode(
    text_encoder: Any,
    ids: Tensor,
    slots: Tensor,
    vectors: Tensor | None,
    mask: Tensor,
    recorded: RecordedPasses | None = None,
) -> Tensor:
    """Final layer-normed text features of every token.

    Args:
        text_encoder: transformers' CLIPTextModel.
        ids: [batch, tokens].
        slots: which vector replaces a row, [batch, tokens]; -1: none.
        vectors: the identifier's of each sample, [batch, vectors, width]; none: no identifier.
        mask: additive attention mask [batch, 1, tokens, tokens].
        recorded: of this encoder, which must then stay as it is; none: operator by operator.

    Returns:
        c, [batch, tokens, width].
    """
    # transformers < 5.6 keeps the parts one level down.
    parts = getattr(text_encoder, "text_model", text_encoder)
    table = parts.embeddings.token_embedding
    rows = with_word(table(ids.masked_fill(slots >= 0, 0)), slots, vectors)
    # Without a gradient a prompt is read once, or its attention is looked at as it goes.
    if recorded is None or not rows.requires_grad:
        return _features(parts, rows, mask)
    return recorded(partial(_features, parts), rows, mask)


def _features(parts: Any, rows: Tensor, mask: Tensor) -> Tensor:
    hidden = parts.embeddings(inputs_embeds=rows)
    hidden = parts.encoder(inputs_embeds=hidden, attention_mask=mask, is_causal=False)
    return parts.final_layer_norm(hidden.last_hidden_state)


def encode_tokens(
    text_encoder: Any,
    tokens: Tokens,
    vectors: Tensor | None,
    masked: Tensor,
    recorded: RecordedPasses | None = None,
) -> Tensor:
    """`encode` for tokenised prompts.

    Args:
        text_encoder: transformers' CLIPTextModel.
        tokens: the prompts.
        vectors: the identifier's of each, one after the other, [prompts, vectors * width].
        masked: which are masked where they can be, [prompts] bool.
        recorded: as for `encode`.
    """
    table = getattr(text_encoder, "text_model", text_encoder).embeddings.token_embedding.weight
    ids, slots, mask = tokens.read(table.device, masked, table.dtype)
    if vectors is not None:
        vectors = vectors.unflatten(1, (tokens.vectors, -1))
    return encode(text_encoder, ids, slots, vectors, mask, recorded)
