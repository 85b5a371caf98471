"""Settings of the two stages: optimiser, steps, identifier mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from textreg.config.later import LATER

Schedule = Literal["constant", "linear", "cosine"]
OptimizerName = Literal["adamw", "adamw-8bit", "prodigy", "schedule-free"]
Placement = Literal["cross-kv", "self", "cross+self", "full"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """The optimiser and the batch, shared by both stages."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 1e-2
    batch_size: int = 1
    """Samples a concept and micro-batch."""
    accumulation: int = 1
    """Micro-batches an update."""
    name: OptimizerName = field(default="adamw", metadata=LATER)
    """Of stage 2; stage 1 has AdamW. All but adamw need a package of their own."""
    prodigy_coefficient: float = field(default=1.0, metadata=LATER)
    """Factor of the rate that Prodigy finds, in place of tuning.learning_rate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inversion:
    """Stage 1: textual inversion of the identifier."""

    steps: int = 500
    learning_rate: float = 5e-4
    warmup_steps: int = 0
    schedule: Schedule = "constant"
    initial_token: str = "ktn"
    """Rare token whose vector the identifier starts from."""
    initialise_with_noun: bool = False
    """Start from the noun's last token; prompts then carry the identifier without the noun."""
    norm_pull: bool = True
    """Pull the vector's norm back to its initial value after each step."""
    vectors: int = field(default=1, metadata=LATER)
    """Word vectors that the identifier stands for, a token each."""
    embedding: Path | None = None
    """A learned_embeds.safetensors to start from, or a folder with one for each concept, NAME/
    learned_embeds.safetensors; with steps 0, stage 1 is taken from it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """Stage 2: low-rank edit of the cross-attention keys and values, or of other projections."""

    steps: int = 1500
    learning_rate: float = 4e-4
    warmup_steps: int = 0
    schedule: Schedule = "constant"
    rank: int = 10
    placement: Placement = field(default="cross-kv", metadata=LATER)
    """Attention projections that are edited: "cross-kv", those that read the text (the method's);
    "self", the picture's attention to itself; both; "full", those and cross-attention's others."""
    text_encoder_rank: int = field(default=0, metadata=LATER)
    """Rank of an edit of the text encoders' own attention as well; 0: none."""
    text_encoder_learning_rate: float | None = field(default=None, metadata=LATER)
    """Its rate, with the same warm-up and schedule; none: learning_rate."""
    max_grad_norm: float = 1.0
    """Clip of each concept's own gradient norm; 0 does not clip."""
    ema_decay: float | None = field(default=None, metadata=LATER)
    """Save a moving average of the edit with this decay, .99 or .999; none: the last edit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mask:
    """The identifier mask: how often the identifier is held apart from its context."""

    ratio: float = 0.75
    """rho: share of the samples that are masked; 0 switches the mask off."""
    in_tuning: bool = True
    """Mask in stage 2 as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Denoising:
    """The denoising loss on the concept's pictures, in both stages."""

    snr_gamma: float | None = field(default=None, metadata=LATER)
    """Min-SNR weighting with this gamma, 5 in its paper; none: every timestep weighs alike."""
    noise_offset: float = field(default=0.0, metadata=LATER)
    """Size of a constant that is added to each channel of the noise; .05 to .1 is usual."""
