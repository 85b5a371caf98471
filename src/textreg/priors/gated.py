"""Gated: the edit acts on the identifier's token only (METHOD 5, method/token_gate.py)."""

from __future__ import annotations

from textreg.priors import Prior


class Gated(Prior):
    """k_j = W c_j + g_j dW c_j, g_j = 1 iff token j is the identifier.

    Exactly the base on every prompt without the identifier; in return the noun and the end token
    cannot carry appearance, and only textreg can draw the result.
    """

    edited_tokens = "identifier"
