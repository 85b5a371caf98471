"""Flags of settings that change how training learns (docs/training.md). Imports no torch."""

from __future__ import annotations

from typing import Any, get_args

from textreg.config import OptimizerName
from textreg.flags import number

TRAINING_FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "--snr": (
        "denoising.snr_gamma",
        {"type": number, "metavar": "GAMMA", "help": "min-SNR weighting of timesteps; 5 is usual"},
    ),
    "--noise-offset": (
        "denoising.noise_offset",
        {
            "type": number,
            "metavar": "SIZE",
            "help": "for very dark and very bright pictures; .05 to .1 is usual",
        },
    ),
    "--ema": (
        "tuning.ema_decay",
        {
            "type": number,
            "metavar": "DECAY",
            "help": "save a moving average of the edit; .99 is usual for some hundred steps",
        },
    ),
    "--optimizer": (
        "optimizer.name",
        {
            "choices": list(get_args(OptimizerName)),
            "help": "of stage 2; all but adamw are extras, like pip install 'textreg[prodigy]'",
        },
    ),
}
