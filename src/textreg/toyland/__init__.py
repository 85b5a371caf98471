"""The embedded base model: a small rendered world, what was trained on it, and its judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attribute_judge import Judge
    from .build_base import build
    from .individual import concept
    from .scoring import score

__all__ = ["Judge", "build", "concept", "path", "score"]

_HOMES = {
    "Judge": "attribute_judge",
    "build": "build_base",
    "concept": "individual",
    "score": "scoring",
}


def path() -> Path:
    """Return the folder of the embedded base, in the layout of diffusers."""
    return Path(__file__).parent / "base"


def __getattr__(name: str) -> Any:
    # Torch is imported only by those who ask for what needs it.
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
