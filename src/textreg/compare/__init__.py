"""Priors side by side: the same concepts, seeds and first stage, and only the prior differs.

from textreg.compare import Comparison, compare
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textreg.compare.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]


def __getattr__(name: str) -> Any:
    # The shell reads the priors' words without loading what compares them.
    if name not in __all__:
        raise AttributeError(f"module 'textreg.compare' has no attribute {name!r}")
    from textreg.compare import comparison

    return getattr(comparison, name)
