"""Flags of settings that change how training learns (docs/training.md). Imports no torch."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from textreg.config import OptimizerName
from textreg.flags import number, some_path, whole_number

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
            "help": "of stage 2; all but adamw are extras, like pip install -e '.[prodigy]'",
        },
    ),
}


def add_sample_flags(verb: argparse.ArgumentParser) -> None:
    """Flags of the pictures that are drawn while a run trains."""
    verb.add_argument(
        "--sample-every",
        type=whole_number,
        metavar="N",
        help="draw pictures into RUN/samples every N steps; training does not change",
    )
    verb.add_argument(
        "--sample-prompts",
        type=some_path,
        metavar="FILE",
        help="their prompts, one a line, [trigger] where the concept's words go",
    )
