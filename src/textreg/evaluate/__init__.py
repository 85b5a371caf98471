"""What training did to the model, measured; sees adapters and sampling, never the trainer.

from textreg.evaluate import Options, evaluate
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textreg.evaluate.evaluation import evaluate
    from textreg.evaluate.options import Options

__all__ = ["Options", "evaluate"]


def __getattr__(name: str) -> Any:
    # Whoever asks for one metric does not load the whole evaluation.
    if name not in __all__:
        raise AttributeError(f"module 'textreg.evaluate' has no attribute {name!r}")
    from textreg.evaluate import evaluation

    return getattr(evaluation, name)
