"""Settings of the priors, a section each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Form = Literal["norm", "squared"]
DecayForm = Literal["product", "factors"]
EditPool = Literal["instance", "training", "instance+training", "edit_head"]


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
