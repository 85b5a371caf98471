"""A word's vectors on disk, in each form that programs write (FORMATS 4); never a pickle.

{"<krk1>": [vectors, width]}                  diffusers, learned_embeds.safetensors
{"emb_params": ...}, {"emp_params": ...}      kohya; OneTrainer (sic)
{"clip_l": ...}                               diffusers' advanced training script
{"clip_l": ..., "clip_g": ...}                Stable Diffusion XL, by all programs
{"bundle_emb.krk1.string_to_param.*": ...}    A1111, within a LoRA file; of XL .clip_l and .clip_g
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
from textreg.config.rules import MOST_VECTORS
from textreg.errors import UserError
from textreg.file_kinds import shown

_PAIR = {"clip_l", "clip_g"}
_UNNAMED = ("emb_params", "emp_params", "clip_l")
"""Keys that say what the tensor is instead of the word; the file's name is the word there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """A word as a file has it."""

    name: str
    """"" if the file does not say."""
    vector: Tensor
    """Its vectors one after the other, [num_vectors * width] float32; with two text encoders each
    is one of both, side by side."""
    num_vectors: int = 1
    second_width: int = 0
    """How much of a vector is the second encoder's."""

    @property
    def width(self) -> int:
        """Numbers of one vector."""
        return len(self.vector) // self.num_vectors


def read_embedding(path: Path) -> Word:
    """The one word of a file.

    Raises:
        UserError: the file is damaged or does not hold exactly one word.
    """
    tensors, metadata = read_tensors(path)
    found = word_in(path, tensors, metadata)
    if found is not None:
        return found
    # Not within a LoRA file: it holds nothing but the word.
    if tensors.keys() == _PAIR:
        return _word_of_two(path, metadata.get(IDENTIFIER, ""), tensors)
    if len(tensors) != 1:
        raise UserError(f"{path}: must hold one word, and holds {len(tensors)}")
    name, tensor = next(iter(tensors.items()))
    word = metadata.get(IDENTIFIER, "") if name in _UNNAMED else name
    return _word(path, word, _rows(path, word, tensor))


def word_in(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Word | None:
    """The word that a LoRA file brings along, if it brings one.

    Raises:
        UserError: it brings several.
    """
    words = {k: {"": v} for k, v in tensors.items() if metadata.get(k) == "<embed>"}
    for key, tensor in tensors.items():
        if key.startswith(BUNDLED) and key.count(".") > 1:
            _, word, what = key.split(".", 2)
            words.setdefault(word, {})[what] = tensor
    if not words:
        return None
    if len(words) != 1:
        raise UserError(f"{path}: must hold one word, and holds {len(words)}")
    word, parts = next(iter(words.items()))
    # A file's name cannot have what a word can: <krk1> is krk1 there.
    name = word if "" in parts else metadata.get(IDENTIFIER, "") or word
    if parts.keys() == _PAIR:
        return _word_of_two(path, name, parts)
    if len(parts) != 1:
        raise UserError(f"{path}: its word has {len(parts)} tensors; one is known")
    return _word(path, name, _rows(path, word, next(iter(parts.values()))))


def _word_of_two(path: Path, name: str, parts: dict[str, Tensor]) -> Word:
    first, second = (_rows(path, key, parts[key]) for key in ("clip_l", "clip_g"))
    if len(first) != len(second):
        raise UserError(
            f"{path}: its word has {len(first)} vectors in clip_l and {len(second)} in clip_g"
        )
    width = second.shape[1]
    return _word(path, name, torch.cat([first, second], dim=1), second_width=width)


def _word(path: Path, name: str, rows: Tensor, second_width: int = 0) -> Word:
    return Word(
        name=checked_word(path, "word", name) if name else "",
        vector=rows.flatten(),
        num_vectors=len(rows),
        second_width=second_width,
    )


def _rows(path: Path, word: str, tensor: Tensor) -> Tensor:
    """A word's vectors, [vectors, width]; cloneofsimo writes one without the first dimension."""
    rows = tensor[None] if tensor.ndim == 1 else tensor
    if rows.ndim != 2 or not rows.numel() or len(rows) > MOST_VECTORS:
        raise UserError(
            f"{path}: must hold one word of 1 to {MOST_VECTORS} vectors, and "
            f"{shown(word) or 'its tensor'} has the shape {list(tensor.shape)}"
        )
    return rows.float()
