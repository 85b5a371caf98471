"""Token gate: edit the keys and values of the identifier's own token only (METHOD 5).

    k_j = W c_j + g_j dW c_j,   g_j = 1 iff token j is the identifier

On a prompt without the identifier the model is then the base, exactly. The gate must be applied
when pictures are drawn as well, so the adapter says that it needs it.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

EditedTokens = Literal["all", "identifier"]
"""Whose keys and values the edit changes."""


def token_gate(edited: EditedTokens, is_identifier: Tensor) -> Tensor | None:
    """Gate of every token, in the shape of `is_identifier`; none: the edit acts on all of them.

    Source: TARA, AAAI 2026 (2508.08812).
    """
    return is_identifier if edited == "identifier" else None
