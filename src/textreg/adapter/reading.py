"""Any file of a learned concept to an Adapter: which form it has is read off its keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from textreg.adapter import Adapter, legacy_file
from textreg.adapter.about import known
from textreg.adapter.diffusers_files import EMBEDDING_FILE, GATED_LORA_FILE, LORA_FILE
from textreg.adapter.embedding_file import Word, read_embedding, word_in
from textreg.adapter.lora_factors import read_factors
from textreg.adapter.safe_header import pickle_advice
from textreg.adapter.tensor_file import read_tensors
from textreg.config import Property
from textreg.errors import UserError
from textreg.file_kinds import shown

_IN_A_FOLDER = (
    LORA_FILE,
    GATED_LORA_FILE,
    "adapter_model.safetensors",
    "lora_weight.safetensors",
)
_PICKLES = (".pt", ".bin", ".ckpt", ".pth", ".pkl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a caller says of a file that may not say it; it goes before what the file says."""

    identifier: str | None = None
    noun: str | None = None
    learnable_property: Property | None = None
    embedding: Path | None = None
    """File with the word's vector; none: the LoRA file itself, or the one that lies beside it."""


def read(path: Path, told: Told) -> tuple[Adapter, str]:
    """The adapter in a file or folder, and the name of the form it had.

    Raises:
        UserError: one line about what is wrong with which file.
    """
    path = _file_of(path)
    for file in (path, told.embedding):
        if file is not None and file.suffix in _PICKLES:
            raise UserError(f"{file}: {pickle_advice('a pickle')}")
    tensors, metadata = read_tensors(path)
    if len(tensors) < 2:
        raise UserError(
            f"{path}: holds {len(tensors)} tensor; is it a LoRA? A word's file goes to --embedding "
            "of textreg import"
        )
    if any(key.startswith(("unet:", "text_encoder:")) for key in tensors):
        factors, form = legacy_file.read_factors(path, tensors, metadata), "legacy"
    else:
        factors, form = read_factors(path, tensors, metadata)
    fields = known(path, metadata)
    word = _word(path, tensors, metadata, told)
    identifier = told.identifier or word.name or fields["identifier"]
    if not identifier:
        raise UserError(f"{path}: does not say which word it taught; say it with --identifier")
    rank = len(next(iter(factors.values()))[0])
    fields |= _given(told) | {"identifier": identifier}
    vectors = {
        "vector": word.vector,
        "num_vectors": word.num_vectors,
        "second_width": word.second_width,
    }
    return Adapter(factors=factors, alpha=float(rank), **vectors, **fields), form


def _file_of(path: Path) -> Path:
    if path.is_dir():
        found = (path / name for name in _IN_A_FOLDER if (path / name).is_file())
        if (file := next(found, None)) is None:
            inside = sorted(file.parent for file in path.glob(f"*/{EMBEDDING_FILE}"))
            advice = "a finished run's folder or an adapter's file"
            if inside:
                advice = f"one of its concepts, like {inside[0]}"
            elif (path / "run.yaml").is_file():
                raise UserError(
                    f"{path}: this run is not finished; the command that began it goes on"
                )
            raise UserError(f"{path}: holds no finished concept; give {advice}")
        path = file
    # A pipe or a device exists; what is wrong with it is said where it would be opened.
    if not path.exists():
        raise UserError(f"{path}: no such file; give a finished run's folder or an adapter's file")
    return path


def _given(told: Told) -> dict[str, Any]:
    given = {"noun": told.noun, "learnable_property": told.learnable_property}
    return {name: value for name, value in given.items() if value is not None}


def _word(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], told: Told) -> Word:
    """The word: from the file named, from this one, or from the one beside it."""
    if told.embedding is not None:
        return read_embedding(told.embedding)
    if (found := word_in(path, tensors, metadata)) is not None:
        return found
    beside = [path.with_name(EMBEDDING_FILE)]
    if path.stem.endswith("_lora"):
        beside.insert(0, path.with_name(f"{path.stem.removesuffix('_lora')}.safetensors"))
    for file in beside:
        if file.is_file():
            return read_embedding(file)
    raise UserError(
        f"{path}: holds no word vector, and {shown(beside[-1].name)} is not beside it; put "
        "it there, or give it to textreg import as --embedding"
    )
