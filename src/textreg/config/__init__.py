"""A run as one typed, frozen value; sections belong to what they configure. Imports no torch."""

from textreg.config.later import without_later
from textreg.config.pictures import Concept, Images, Masks, Property
from textreg.config.priors import (
    ClassImages,
    Context,
    DecayForm,
    EditPool,
    Form,
    OutputPreservation,
    TextReg,
    WeightDecay,
)
from textreg.config.run import NOT_IDENTITY, Dtype, Run, Speed, plain
from textreg.config.stages import (
    Denoising,
    Inversion,
    Mask,
    Optimizer,
    OptimizerName,
    Placement,
    Schedule,
    Tuning,
)

__all__ = [
    "NOT_IDENTITY",
    "ClassImages",
    "Concept",
    "Context",
    "DecayForm",
    "Denoising",
    "Dtype",
    "EditPool",
    "Form",
    "Images",
    "Inversion",
    "Mask",
    "Masks",
    "Optimizer",
    "OptimizerName",
    "OutputPreservation",
    "Placement",
    "Property",
    "Run",
    "Schedule",
    "Speed",
    "TextReg",
    "Tuning",
    "WeightDecay",
    "plain",
    "without_later",
]
