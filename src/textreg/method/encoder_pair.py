"""Stable Diffusion XL's two text encoders, read side by side (METHOD 6).

    c = [h_1(p), h_2(p)]            hidden states before each encoder's last layer, [T, d_1 + d_2]
    pooled = W_p LN(last of h_2)[e]    e: the prompt's first end token

Each of the identifier's vectors is kept as one of d_1 + d_2 numbers; it is masked in both. Where
a prompt ends is looked up, never guessed by the largest id: an added word's id is larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from textreg.method.text_features import TextFeatures, Tokens, with_word


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderPair:
    """Both encoders; their tokenizers differ in what they pad with and in nothing else."""

    encoders: tuple[Any, Any]
    """transformers' CLIPTextModel and CLIPTextModelWithProjection."""
    padding: tuple[int, int]
    """Id that each is padded with behind the end token."""
    end: int
    """Id of the end token."""

    def encode(self, tokens: Tokens, vectors: Tensor | None, masked: Tensor) -> TextFeatures:
        """Features of tokenised prompts.

        Args:
            tokens: as the first tokenizer reads them.
            vectors: the identifier's, both encoders' in one, one after the other,
                [prompts, vectors * (d_1 + d_2)]; none: no identifier.
            masked: which prompts are masked where they can be, [prompts] bool.
        """
        parts = [getattr(e, "text_model", e) for e in self.encoders]
        tables = [p.embeddings.token_embedding.weight for p in parts]
        widths = [table.shape[1] for table in tables]
        device = tables[0].device
        ids, slots, mask = tokens.read(device, masked, tables[0].dtype)
        end = (ids == self.end).int().argmax(1)
        behind = torch.arange(ids.shape[1], device=device) > end[:, None]
        words: Sequence[Tensor | None] = (None, None)
        if vectors is not None:
            words = vectors.unflatten(1, (tokens.vectors, -1)).split(widths, dim=2)
        read = [
            _last_two(part, ids.masked_fill(behind, padding), slots, word, mask)
            for part, padding, word in zip(parts, self.padding, words, strict=True)
        ]
        rows = torch.arange(len(ids), device=device)
        summary = parts[1].final_layer_norm(read[1][1])[rows, end]
        return TextFeatures(
            tokens=torch.cat([before for before, _ in read], dim=-1),
            pooled=self.encoders[1].text_projection(summary),
        )


def _last_two(
    parts: Any, ids: Tensor, slots: Tensor, vectors: Tensor | None, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """What goes into the last layer, and what comes out of it; neither is normalised."""
    rows = with_word(
        parts.embeddings.token_embedding(ids.masked_fill(slots >= 0, 0)), slots, vectors
    )
    hidden = before = parts.embeddings(inputs_embeds=rows)
    for layer in parts.encoder.layers:
        before, hidden = hidden, layer(hidden, mask, is_causal=False)
    return before, hidden
