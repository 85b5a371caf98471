"""Flags that set a run, on every verb that takes them. Imports no torch."""

from __future__ import annotations

from typing import Any, get_args

from textreg.config import Placement, Speed
from textreg.flags import count_or_auto, seed_number, some_text, whole_number
from textreg.training_flags import TRAINING_FLAGS

RUN_FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "--base": (
        "base",
        {
            "type": some_text,
            "metavar": "NAME|DIR|HUB_ID",
            "help": "base model; toyland is embedded",
        },
    ),
    "--prior": (
        "prior",
        {"metavar": "NAME[+NAME]", "help": "how the model is held; the names are below"},
    ),
    "--inversion-steps": (
        "inversion.steps",
        {"type": whole_number, "metavar": "N", "help": "steps of stage 1"},
    ),
    "--tuning-steps": (
        "tuning.steps",
        {"type": whole_number, "metavar": "N", "help": "steps of stage 2"},
    ),
    "--vectors": (
        "inversion.vectors",
        {"type": whole_number, "metavar": "N", "help": "word vectors of the new word (default 1)"},
    ),
    "--rank": ("tuning.rank", {"type": whole_number, "metavar": "R", "help": "rank of the edit"}),
    "--placement": (
        "tuning.placement",
        {
            "choices": get_args(Placement),
            "help": "what stage 2 edits (default cross-kv; the others without textreg's terms)",
        },
    ),
    "--text-encoder-rank": (
        "tuning.text_encoder_rank",
        {
            "type": whole_number,
            "metavar": "R",
            "help": "edit the text encoder's attention too, at this rank (default 0: no)",
        },
    ),
    "--resolution": (
        "images.resolution",
        {"type": whole_number, "metavar": "PX", "help": "training side"},
    ),
    "--batch-concepts": (
        "batch_concepts",
        {
            "type": count_or_auto,
            "metavar": "auto|N",
            "help": "concepts in one batch, the others in waves; auto: what fits",
        },
    ),
    "--speed": (
        "speed",
        {
            "choices": get_args(Speed),
            "help": "how the denoiser runs: plainly, by torch.compile, or as a graph",
        },
    ),
    "--seed": ("seed", {"type": seed_number, "metavar": "S", "help": "decides every draw"}),
    "--device": (
        "device",
        {"type": some_text, "metavar": "DEVICE", "help": "auto, cpu, cuda, cuda:1"},
    ),
    "--dtype": (
        "dtype",
        {
            "choices": ["auto", "fp32", "bf16", "fp16", "fp64"],
            "help": "precision of the frozen denoiser",
        },
    ),
} | TRAINING_FLAGS
