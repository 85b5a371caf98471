"""Prompts to text features, with the identifier's vector and mask put in (METHOD 1-3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from textreg.method.identifier_mask import identifier_mask


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Tokenised prompts.

    `ids` and `is_identifier` are [prompts, tokens]; `can_mask` [prompts] says whether the noun
    follows the identifier directly, so that it can be masked.
    """

    ids: Tensor
    is_identifier: Tensor
    can_mask: Tensor
    noun_length: int

    def rows(self, index: Tensor) -> Tokens:
        """Some of the prompts."""
        return Tokens(
            ids=self.ids[index],
            is_identifier=self.is_identifier[index],
            can_mask=self.can_mask[index],
            noun_length=self.noun_length,
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


def tokenize(tokenizer: Any, prompts: list[str], identifier_id: int | None, noun: str) -> Tokens:
    """Tokenise prompts, padded to the model's length.

    An identifier that the noun does not directly follow stays visible: its row is plainly causal.

    Raises:
        ValueError: the identifier of a prompt was cut off at the model's length, or is found inside
            another word.
    """
    encoded = tokenizer(
        prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True
    )
    ids = torch.tensor(encoded["input_ids"])
    noun_ids = torch.tensor(tokenizer.encode(noun, add_special_tokens=False))
    where = ids == identifier_id if identifier_id is not None else torch.zeros_like(ids).bool()
    if identifier_id is not None:
        word = tokenizer.convert_ids_to_tokens(identifier_id)
        # A tokenizer takes an added word out of the middle of others: "oto" would split "photo".
        inside = re.compile(rf"(?<=\w)(?=\w){re.escape(word)}|{re.escape(word)}(?<=\w)(?=\w)")
        for prompt, row in zip(prompts, where, strict=True):
            if inside.search(prompt.lower()):
                raise ValueError(
                    f"identifier {word!r} is part of another word in {prompt!r}; "
                    "choose a word in angle brackets, like '<krk1>'"
                )
            if prompt.lower().count(word) != int(row.sum()):
                raise ValueError(
                    f"prompt is longer than the {ids.shape[1]} tokens this base reads; "
                    f"the identifier {word!r} is cut off: {prompt!r}"
                )
    follows = torch.ones(len(prompts), dtype=torch.bool)
    for row, position in where.nonzero().tolist():
        behind = ids[row, position + 1 : position + 1 + len(noun_ids)]
        follows[row] &= behind.shape == noun_ids.shape and bool((behind == noun_ids).all())
    return Tokens(
        ids=ids, is_identifier=where, can_mask=follows & where.any(1), noun_length=len(noun_ids)
    )


def context_rows(tokens: Tokens) -> Tensor:
    """The rows that are neither the identifier nor the noun behind it, [prompts, tokens] bool."""
    rows = ~tokens.is_identifier
    for row, position in tokens.is_identifier.nonzero().tolist():
        if tokens.can_mask[row]:
            rows[row, position + 1 : position + 1 + tokens.noun_length] = False
    return rows


def encode(
    text_encoder: Any,
    ids: Tensor,
    is_identifier: Tensor,
    vectors: Tensor | None,
    mask: Tensor,
) -> Tensor:
    """Final layer-normed text features of every token.

    Args:
        text_encoder: transformers' CLIPTextModel.
        ids: [batch, tokens].
        is_identifier: rows to replace, [batch, tokens] bool.
        vectors: the identifier's vector of each sample, [batch, width]; none: no identifier.
        mask: additive attention mask [batch, 1, tokens, tokens].

    Returns:
        c, [batch, tokens, width].
    """
    # transformers < 5.6 keeps the parts one level down.
    parts = getattr(text_encoder, "text_model", text_encoder)
    table = parts.embeddings.token_embedding
    rows = table(ids.masked_fill(is_identifier, 0))
    if vectors is not None:
        rows = torch.where(is_identifier[..., None], vectors[:, None].to(rows.dtype), rows)
    hidden = parts.embeddings(inputs_embeds=rows)
    hidden = parts.encoder(inputs_embeds=hidden, attention_mask=mask, is_causal=False)
    return parts.final_layer_norm(hidden.last_hidden_state)


def encode_tokens(
    text_encoder: Any, tokens: Tokens, vectors: Tensor | None, masked: Tensor
) -> Tensor:
    """`encode` for tokenised prompts, the mask built from `masked` [prompts] bool."""
    table = getattr(text_encoder, "text_model", text_encoder).embeddings.token_embedding.weight
    ids, where = tokens.ids.to(table.device), tokens.is_identifier.to(table.device)
    masked = masked.to(table.device) & tokens.can_mask.to(table.device)
    mask = identifier_mask(where, tokens.noun_length, masked, table.dtype)
    return encode(text_encoder, ids, where, vectors, mask)
