"""The method, one idea a file; plain tensors in and out, for our training loop or yours."""

from textreg.method.identifier_mask import identifier_mask
from textreg.method.text_projections import LowRankEdit, TextProjections
from textreg.method.text_regularizer import class_prior_loss, edit_prior_loss

__all__ = [
    "LowRankEdit",
    "TextProjections",
    "class_prior_loss",
    "edit_prior_loss",
    "identifier_mask",
]
