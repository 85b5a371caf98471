"""Whole runs as plain functions; a preset is what differs from the defaults, as data."""

from __future__ import annotations

from typing import Any


def textreg() -> dict[str, Any]:
    """Our recommendation for Stable Diffusion: hard mode, as docs/study.md decides.

    500 + 1500 steps, rho .75 (METHOD 8: the experiment scripts' values), the null prompt and
    several class templates pinned, and beside them the words around the concept held by the context
    term. All else is the configuration's default.
    """
    return {"prior": "textreg+context", "textreg": {"hard": True, "edit_weight": 0.0}}


def original() -> dict[str, Any]:
    """What the published command really ran (METHOD 4): nothing accumulated, no warm-up.

    Batch 1, learning rate 1e-4 scaled by 4, every picture newly augmented, one class template, the
    null prompt free, the identifier's own instance prompts as edit pool, alpha = beta = .01,
    rho .5. The clip acted on a quarter of the gradient: 1.0 there is 4.0 here.
    """
    return {
        "images": {"views": None},
        "tuning": {"max_grad_norm": 4.0},
        "mask": {"ratio": 0.5},
        "textreg": {
            "class_weight": 0.01,
            "edit_weight": 0.01,
            "null_prompt": False,
            "class_templates": "one",
            "edit_prompts": "instance",
        },
    }


PRESETS = {"textreg": textreg, "original": original}
