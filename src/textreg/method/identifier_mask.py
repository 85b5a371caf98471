"""The identifier mask: the new word keeps its meaning to itself (METHOD 3)."""

from __future__ import annotations

import torch
from torch import Tensor


def identifier_mask(
    is_identifier: Tensor,
    noun_length: Tensor | int,
    masked: Tensor,
    dtype: torch.dtype,
    vectors: int = 1,
) -> Tensor:
    """Additive attention mask of a causal text encoder, per sample.

    Query i sees key j iff

        j <= i  and not(m_b and i in I_b and j < i)  and not(m_b and j in I_b and i > j + L_b):

    the identifier sees only itself, the noun's L rows see it, later rows do not. Of a word of
    several vectors j < i means: before the word that i is of, and j + L counts from its last one.

    Args:
        is_identifier: I_b, where a prompt has the identifier, [batch, tokens] bool.
        noun_length: L, number of tokens of the noun behind it, [batch] or one number.
        masked: m_b, which samples are masked, [batch] bool; the others are plainly causal.
        dtype: floating type of the encoder.
        vectors: rows in a row that each identifier has.

    Returns:
        [batch, 1, tokens, tokens]; 0 where seen, the type's minimum where not.

    Source: METHOD 3; the original draws m once a batch and keeps only the last identifier.
    """
    tokens = is_identifier.shape[1]
    device = is_identifier.device
    length = torch.as_tensor(noun_length, device=device).reshape(-1, 1, 1)
    query = torch.arange(tokens, device=device)[:, None]
    key = torch.arange(tokens, device=device)[None, :]
    seen = (key <= query).expand(is_identifier.shape[0], -1, -1)
    # The first and the last row of the word that a row is of.
    slot = (is_identifier.cumsum(1) - 1) % vectors
    first, last = (position - slot for position in (query[:, 0], query[:, 0] + vectors - 1))
    from_identifier = is_identifier[:, :, None] & (key < first[:, :, None])
    to_identifier = is_identifier[:, None, :] & (query > last[:, None, :] + length)
    hidden = (from_identifier | to_identifier) & masked[:, None, None]
    mask = torch.zeros(seen.shape, dtype=dtype, device=device)
    return mask.masked_fill(~seen | hidden, torch.finfo(dtype).min)[:, None]
