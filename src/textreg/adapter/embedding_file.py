"""A word's vector on disk, in each form that programs write (FORMATS 4); never a pickle.

{"<krk1>": [1, width]}                        diffusers, learned_embeds.safetensors
{"emb_params": ...}, {"emp_params": ...}      kohya; OneTrainer (sic)
{"clip_l": ...}                               diffusers' advanced training script
{"clip_l": ..., "clip_g": ...}                Stable Diffusion XL, by all programs
{"bundle_emb.krk1.string_to_param.*": ...}    A1111, within a LoRA file
{"<krk1>": ...} marked "<embed>"              the original, within a legacy file
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from textreg.adapter.about import IDENTIFIER, checked_word
from textreg.adapter.lora_factors import BUNDLED
from textreg.adapter.tensor_file import read_tensors
from textreg.errors import UserError
from textreg.file_kinds import shown

_UNNAMED = ("emb_params", "emp_params", "clip_l")
"""Keys that say what the tensor is instead of the word; the file's name is the word there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """A word as a file has it."""

    name: str
    """"" if the file does not say."""
    vector: Tensor
    """[width] float32; with two text encoders one of each, side by side."""
    second_width: int = 0
    """How much of it is the second encoder's."""


def read_embedding(path: Path) -> Word:
    """The one word of a file.

    Raises:
        UserError: the file is damaged or does not hold exactly one word with one vector.
    """
    tensors, metadata = read_tensors(path)
    found = word_in(path, tensors, metadata)
    if found is not None:
        return found
    # Not within a LoRA file: it holds nothing but the word.
    if tensors.keys() == {"clip_l", "clip_g"}:
        first, second = (_vector(path, key, tensors[key]) for key in ("clip_l", "clip_g"))
        return Word(
            name=_named(path, metadata.get(IDENTIFIER, "")),
            vector=torch.cat([first, second]),
            second_width=len(second),
        )
    if len(tensors) != 1:
        raise UserError(f"{path}: must hold one word with one vector, and holds {len(tensors)}")
    name, tensor = next(iter(tensors.items()))
    word = metadata.get(IDENTIFIER, "") if name in _UNNAMED else name
    return Word(name=_named(path, word), vector=_vector(path, word, tensor))


def word_in(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Word | None:
    """The word that a LoRA file brings along, if it brings one.

    Raises:
        UserError: it brings several.
    """
    legacy = {k: v for k, v in tensors.items() if metadata.get(k) == "<embed>"}
    bundled = {
        k.split(".")[1]: v for k, v in tensors.items() if k.startswith(BUNDLED) and k.count(".") > 1
    }
    words = legacy | bundled
    if not words:
        return None
    if len(words) != 1:
        raise UserError(f"{path}: must hold one word with one vector, and holds {len(words)}")
    word, tensor = next(iter(words.items()))
    return Word(name=_named(path, word), vector=_vector(path, word, tensor))


def _named(path: Path, word: str) -> str:
    return checked_word(path, "word", word) if word else ""


def _vector(path: Path, word: str, tensor: Tensor) -> Tensor:
    size = max(tensor.shape, default=0)
    if not size or tensor.numel() != size:
        raise UserError(
            f"{path}: must hold one word with one vector, and {shown(word) or 'its tensor'} has "
            f"the shape {list(tensor.shape)}; words of several vectors are not read"
        )
    return tensor.flatten().float()
