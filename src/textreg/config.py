"""A run as one typed, frozen value; sections belong to what they configure. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Property = Literal["object", "style"]
Form = Literal["norm", "squared"]
DecayForm = Literal["product", "factors"]
EditPool = Literal["instance", "training", "instance+training", "edit_head"]
Dtype = Literal["auto", "fp32", "bf16", "fp16", "fp64"]
Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Concept:
    """What is learned: pictures, the class noun, and the new word that stands before it."""

    images: Path
    """Folder with the concept's pictures."""
    noun: str
    """Class noun, for example "cat" (for a style: "painting")."""
    identifier: str = "<krk1>"
    """The new word, lower case; prompts say "<krk1> cat"."""
    learnable_property: Property = "object"
    """Whether the pictures show an object or a style."""

    @property
    def name(self) -> str:
        """The folder's name: the concept's name in files and in the random streams."""
        return self.images.resolve().name if self.images.name in ("", "..") else self.images.name

    @property
    def words(self) -> str:
        """What stands in a prompt's {}: "<krk1> cat" (METHOD: identifier as an adjective)."""
        return f"{self.identifier} {self.noun}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """How pictures become training views."""

    resolution: int | None = None
    """Side in pixels; none: the base model's own."""
    center_crop: bool = True
    """Crop the centre; otherwise a random place along the long side."""
    flip: bool = True
    """Mirror half of the views."""
    jitter: bool = True
    """Colour jitter: brightness .2, contrast .1."""
    views: int | None = 8
    """Views a picture, each encoded once and kept; none: a fresh view each step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """AdamW and the batch, shared by both stages."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 1e-2
    batch_size: int = 1
    """Samples a concept and micro-batch."""
    accumulation: int = 1
    """Micro-batches an update."""


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
    embedding: Path | None = None
    """A learned_embeds.safetensors to start from; with steps 0, stage 1 is taken from it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """Stage 2: low-rank edit of the cross-attention keys and values."""

    steps: int = 1500
    learning_rate: float = 4e-4
    warmup_steps: int = 0
    schedule: Schedule = "constant"
    rank: int = 10
    max_grad_norm: float = 1.0
    """Clip of each concept's own gradient norm; 0 does not clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mask:
    """The identifier mask: how often the identifier is held apart from its context."""

    ratio: float = 0.75
    """rho: share of the samples that are masked; 0 switches the mask off."""
    in_tuning: bool = True
    """Mask in stage 2 as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextReg:
    """Prior preservation with text alone."""

    class_weight: float = 0.01
    """alpha: weight of the class-prior term."""
    edit_weight: float = 0.1
    """beta: weight of the edit-prior term."""
    form: Form = "norm"
    """"norm" (the paper's) or "squared" (exact expectation from pooled Gram matrices)."""
    hard: bool = False
    """Remove the class prompts' directions from the edit: the class is then exactly the base's."""
    null_prompt: bool = True
    """Hold the empty prompt as well (classifier-free guidance reads it)."""
    class_templates: Literal["one", "several"] = "several"
    """Hold one class template, as the original, or the whole pool."""
    class_prompts: tuple[str, ...] = ()
    """Your own class templates, {} for the noun; empty: templates/class_object.txt (or _style)."""
    edit_prompts: EditPool = "instance+training"
    """Pool of the edit-prior term."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassImages:
    """Prior class-images: the denoising loss on pictures of the class (DreamBooth)."""

    weight: float = 1.0
    """w: weight of that loss."""
    count: int = 200
    """Pictures that the base draws of "a photo of a {noun}" before the first step."""
    steps: int = 50
    """Denoising steps of a drawn picture."""
    guidance: float = 5.0
    """Classifier-free guidance of a drawn picture."""
    folder: Path | None = None
    """Take the pictures from here and draw none; of several concepts, from FOLDER/CONCEPT each."""
    captions: Path | None = None
    """File with a prompt a line, in the order of the folder's picture names, or one line for all;
    none: NAME.txt beside the picture NAME.png, else "a photo of a {noun}"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputPreservation:
    """Prior output-preservation: on class prompts, predict what the base predicts."""

    weight: float = 1.0
    """w: weight of the mean squared difference of the two predictions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightDecay:
    """Prior weight-decay: keep the edit small, whatever the text."""

    weight: float = 0.003
    """w: weight of a sum over keys and values; the factor form was published with 1e-7."""
    form: DecayForm = "product"
    """"product", the squared norm of s B A, or "factors", that of A plus that of B."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """Prior context: hold the words around the concept."""

    weight: float = 0.001
    """w: weight of the mean norm over keys and values."""


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
    save_steps: int = 100
    """Steps between checkpoints."""
    card_pictures: int = 4
    """Pictures sampled for the model card when the run ends; 0: none."""

    def __post_init__(self) -> None:
        """Check what no single field can know."""
        for problem in _problems(self):
            raise ValueError(problem)

    @property
    def total_steps(self) -> int:
        """Steps of both stages."""
        return self.inversion.steps + self.tuning.steps

    def identity(self) -> dict[str, Any]:
        """Everything that decides the result, as plain data (no folder, no device).

        Of a concept's folder the name alone: wherever it lies, it gives the same random streams.
        """
        data = {key: value for key, value in plain(self).items() if key not in _NOT_IDENTITY}
        for concept, given in zip(data["concepts"], self.concepts, strict=True):
            concept["images"] = given.name
        return data

    @property
    def digest(self) -> str:
        """Hash of the identity: names the run in its files."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_NOT_IDENTITY = ("out", "device", "batch_concepts", "save_steps", "card_pictures")


def plain(run: Run) -> dict[str, Any]:
    """The run as JSON-ready data."""
    return json.loads(json.dumps(asdict(run), default=str))


def _problems(run: Run) -> list[str]:
    """Every rule that a run breaks, in words that name the flag."""
    positive = {
        "--rank": run.tuning.rank,
        "optimizer.batch_size": run.optimizer.batch_size,
        "optimizer.accumulation": run.optimizer.accumulation,
        "class_images.count": run.class_images.count,
        "class_images.steps": run.class_images.steps,
        "--batch-concepts": 1 if run.batch_concepts == "auto" else run.batch_concepts,
        "save_steps": run.save_steps,
        "--resolution": run.images.resolution if run.images.resolution is not None else 1,
        "images.views": run.images.views if run.images.views is not None else 1,
    }
    problems = [
        f"{name} is {value}; it must be at least 1" for name, value in positive.items() if value < 1
    ]
    not_negative = {
        "--inversion-steps": run.inversion.steps,
        "--tuning-steps": run.tuning.steps,
        "inversion.warmup_steps": run.inversion.warmup_steps,
        "tuning.warmup_steps": run.tuning.warmup_steps,
        "inversion.learning_rate": run.inversion.learning_rate,
        "tuning.learning_rate": run.tuning.learning_rate,
        "tuning.max_grad_norm": run.tuning.max_grad_norm,
        "textreg.class_weight": run.textreg.class_weight,
        "textreg.edit_weight": run.textreg.edit_weight,
        "class_images.weight": run.class_images.weight,
        "class_images.guidance": run.class_images.guidance,
        "output_preservation.weight": run.output_preservation.weight,
        "weight_decay.weight": run.weight_decay.weight,
        "context.weight": run.context.weight,
        "card_pictures": run.card_pictures,
    }
    problems += [
        f"{name} is {value}; it must not be negative"
        for name, value in not_negative.items()
        if not value >= 0
    ]
    if not 0 <= run.mask.ratio <= 1:
        problems.append(f"mask.ratio is {run.mask.ratio}; it is a share, from 0 to 1")
    if not run.concepts:
        problems.append("no concept: name a folder with pictures")
    if not 0 <= run.seed < 2**63:
        problems.append(f"--seed is {run.seed}; it must be from 0 to 2^63 - 1")
    if run.class_images.captions is not None and run.class_images.folder is None:
        problems.append("class_images.captions describes class_images.folder, which is not given")
    for template in run.textreg.class_prompts:
        if template.count("{}") != 1:
            problems.append(f"textreg.class_prompts: {template!r} must contain {{}} exactly once")
    return problems + _concept_problems(run.concepts)


def _concept_problems(concepts: tuple[Concept, ...]) -> list[str]:
    problems: list[str] = []
    for concept in concepts:
        if not concept.noun.strip():
            problems.append(f"{concept.images}: no class noun; give one with --noun, like cat")
        if concept.identifier != concept.identifier.lower():
            problems.append(
                f"--identifier {concept.identifier!r} is not lower case: the tokenizer folds "
                f"case, so it would never be seen; use {concept.identifier.lower()!r}"
            )
    for what, values in (
        ("identifier", [c.identifier for c in concepts]),
        ("folder name", [c.name for c in concepts]),
    ):
        twice = sorted({v for v in values if values.count(v) > 1})
        if twice:
            problems.append(f"two concepts share the {what} {twice[0]!r}; each needs its own")
    return problems
