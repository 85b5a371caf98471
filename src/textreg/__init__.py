"""Teach a diffusion model a concept from a few pictures, without forgetting anything else.

from textreg import Run, Concept, learn, steps, Adapter, load, PictureModel, sample
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textreg.adapter import Adapter
    from textreg.backbone import Backbone, load
    from textreg.config import Concept, Run
    from textreg.errors import UserError
    from textreg.learning import learn
    from textreg.sampling import PictureModel, sample
    from textreg.settings import build_run
    from textreg.trainer import steps
    from textreg.training import StepRecord

__all__ = [
    "Adapter",
    "Backbone",
    "Concept",
    "PictureModel",
    "Run",
    "StepRecord",
    "UserError",
    "build_run",
    "learn",
    "load",
    "sample",
    "steps",
]

_HOMES = {
    "Adapter": "adapter",
    "Backbone": "backbone",
    "Concept": "config",
    "PictureModel": "sampling",
    "Run": "config",
    "StepRecord": "training",
    "UserError": "errors",
    "build_run": "settings",
    "learn": "learning",
    "load": "backbone",
    "sample": "sampling",
    "steps": "trainer",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import textreg` and `textreg --help` stay instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'textreg' has no attribute {name!r}")
    return getattr(importlib.import_module(f"textreg.{_HOMES[name]}"), name)
