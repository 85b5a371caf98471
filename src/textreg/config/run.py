"""A run as one typed, frozen value."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from textreg.config.later import without_later
from textreg.config.pictures import Concept, Images
from textreg.config.priors import (
    ClassImages,
    Context,
    OutputPreservation,
    TextReg,
    WeightDecay,
)
from textreg.config.rules import problems
from textreg.config.stages import Denoising, Inversion, Mask, Optimizer, Tuning

Dtype = Literal["auto", "fp32", "bf16", "fp16", "fp64"]
Speed = Literal["auto", "eager", "compile", "graph"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One training run: everything that decides its result, and where that goes."""

    concepts: tuple[Concept, ...]
    base: str = "toyland"
    """Base model: a name of an embedded one, a diffusers folder, or a hub id."""
    revision: str | None = None
    """Revision of a hub id."""
    out: Path
    """The run's folder."""
    prior: str = "textreg"
    """How the model is held: the name of a file in textreg/priors, or several joined by "+"."""
    seed: int = 0
    images: Images = field(default_factory=Images)
    optimizer: Optimizer = field(default_factory=Optimizer)
    inversion: Inversion = field(default_factory=Inversion)
    tuning: Tuning = field(default_factory=Tuning)
    mask: Mask = field(default_factory=Mask)
    denoising: Denoising = field(default_factory=Denoising)
    textreg: TextReg = field(default_factory=TextReg)
    class_images: ClassImages = field(default_factory=ClassImages)
    output_preservation: OutputPreservation = field(default_factory=OutputPreservation)
    weight_decay: WeightDecay = field(default_factory=WeightDecay)
    context: Context = field(default_factory=Context)
    device: str = "auto"
    """"auto", "cpu", "cuda", "cuda:1" ..."""
    dtype: Dtype = "auto"
    """Precision of the frozen denoiser; auto: bf16 on a GPU, fp32 on a CPU."""
    batch_concepts: int | Literal["auto"] = "auto"
    """Concepts in one batch; more train in waves, one after the other. auto: what fits."""
    speed: Speed = "auto"
    """How training runs the frozen denoiser; auto: graph on a CPU, a probe's choice on a GPU, and
    eager with buckets and edits within the denoiser."""
    save_steps: int = 100
    """Steps between checkpoints."""
    card_pictures: int = 4
    """Pictures sampled for the model card when the run ends; 0: none."""
    sample_every: int = 0
    """Steps, over both stages, between pictures sampled while it trains; 0: none."""
    sample_prompts: tuple[str, ...] = ()
    """Their prompts, [trigger] where the concept's words go; empty: the model card's."""

    def __post_init__(self) -> None:
        """Check what no single field can know."""
        for problem in problems(self):
            raise ValueError(problem)

    @property
    def total_steps(self) -> int:
        """Steps of both stages."""
        return self.inversion.steps + self.tuning.steps

    def identity(self) -> dict[str, Any]:
        """Everything that decides the result, as plain data (no folder, no device).

        Of a concept's folder the name alone: wherever it lies, it gives the same random streams.
        """
        data = without_later(Run, plain(self))
        data = {key: value for key, value in data.items() if key not in NOT_IDENTITY}
        for concept, given in zip(data["concepts"], self.concepts, strict=True):
            concept["images"] = given.name
            if given.masks is not None:
                concept["masks"] = given.masks.name
        return data

    @property
    def digest(self) -> str:
        """Hash of the identity: names the run in its files."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


NOT_IDENTITY = (
    "out",
    "device",
    "batch_concepts",
    "speed",
    "save_steps",
    "card_pictures",
    "sample_every",
    "sample_prompts",
)
"""Settings that change nothing of what is learned."""


def plain(run: Run) -> dict[str, Any]:
    """The run as JSON-ready data."""
    return json.loads(json.dumps(asdict(run), default=str))
