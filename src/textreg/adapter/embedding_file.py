"""A word's vector on disk, in each form that programs write (FORMATS 4); never a pickle.

{"<krk1>": [1, width]}                        diffusers, learned_embeds.safetensors
{"emb_params": ...}, {"emp_params": ...}      kohya; OneTrainer (sic)
{"clip_l": ...}                               diffusers' advanced training script
{"bundle_emb.krk1.string_to_param.*": ...}    A1111, within a LoRA file
{"<krk1>": ...} marked "<embed>"              the original, within a legacy file
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from textreg.adapter.about import IDENTIFIER, checked_word
from textreg.adapter.lora_factors import BUNDLED
from textreg.adapter.safe_header import shown
from textreg.adapter.tensor_file import read_tensors
from textreg.errors import UserError

_UNNAMED = ("emb_params", "emp_params", "clip_l")
"""Keys that say what the tensor is instead of the word; the file's name is the word there."""


def read_embedding(path: Path) -> tuple[str, Tensor]:
    """The one word of a file, and its vector, [width] float32; "" if the file does not name it.

    Raises:
        UserError: the file is damaged or does not hold exactly one word with one vector.
    """
    tensors, metadata = read_tensors(path)
    found = word_in(path, tensors, metadata)
    if found is not None:
        return found
    # Not within a LoRA file: it holds nothing but the word.
    if "clip_g" in tensors:
        raise UserError(f"{path}: a word of Stable Diffusion XL, which this version does not read")
    if len(tensors) != 1:
        raise UserError(f"{path}: must hold one word with one vector, and holds {len(tensors)}")
    name, tensor = next(iter(tensors.items()))
    word = metadata.get(IDENTIFIER, "") if name in _UNNAMED else name
    return _named(path, word), _vector(path, word, tensor)


def word_in(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> tuple[str, Tensor] | None:
    """The word that a LoRA file brings along, and its vector, if it brings one.

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
    return _named(path, word), _vector(path, word, tensor)


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
