"""The original's single file (FORMATS 3): cloneofsimo form, no names, numbered in module order.

unet:{i}:up [out, r], unet:{i}:down [r, width], fp16, i over K, V of every layer in module order
(down, up, mid); text_encoder:{j}:up and :down, j over k, v, q, out of every layer, up all zero
unless trained; the identifier's vector by its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from textreg.adapter import Adapter
from textreg.adapter.about import ours
from textreg.adapter.tensor_file import stored, tensor_bytes
from textreg.checkpoint import publish
from textreg.errors import UserError
from textreg.file_kinds import shown
from textreg.method.attention_edit import placed
from textreg.method.encoder_edit import encoder_shapes, of_text_encoder, text_names

_BLOCKS = ("down_blocks.", "up_blocks.", "mid_block.")
_TEXT_PROJECTIONS = 4
"""k, v, q, out of each text-encoder layer."""
_KEY = re.compile(r"(unet|text_encoder):\d+:(up|down)")


def write(adapter: Adapter, path: Path, *, text_layers: int) -> None:
    """Write a file that the original's own loader reads; see `file_bytes`."""
    publish(path, file_bytes(adapter, text_layers=text_layers))


def file_bytes(adapter: Adapter, *, text_layers: int) -> bytes:
    """A file that the original's own loader reads.

    Args:
        adapter: what to write; alpha is folded into B.
        text_layers: layers of the base's text encoder; the original always saves a LoRA of it,
            here as there with B = 0 unless it is trained.

    Raises:
        UserError: the word has several vectors, or the edit is of other projections as well.
    """
    if len(placed(adapter.factors, "full")) > len(placed(adapter.factors, "cross-kv")):
        raise UserError(
            "--to legacy: the original's file holds cross-attention keys and values, and this edit "
            "is of more; leave it out"
        )
    if adapter.num_vectors > 1:
        raise UserError(
            "--to legacy: the original's word has one vector, not several; leave it out"
        )
    scale = adapter.alpha / adapter.rank
    metadata = {
        "unet": json.dumps(["BasicTransformerBlock"]),
        "text_encoder": json.dumps(["CLIPAttention"]),
    }
    tensors: dict[str, Tensor] = {}
    for i, name in enumerate(module_order(adapter.factors)):
        down, up = adapter.factors[name]
        tensors[f"unet:{i}:up"] = stored(scale * up, torch.half)
        tensors[f"unet:{i}:down"] = stored(down, torch.half)
        metadata[f"unet:{i}:rank"] = str(adapter.rank)
    width, rank = adapter.vector.shape[0], adapter.encoder_rank or adapter.rank
    zeros = torch.zeros(rank, width), torch.zeros(width, rank)
    for j, name in enumerate(encoder_shapes([(text_layers, width)])):
        down, up = adapter.factors.get(name, zeros)
        tensors[f"text_encoder:{j}:up"] = stored(scale * up, torch.half)
        tensors[f"text_encoder:{j}:down"] = stored(down, torch.half)
        metadata[f"text_encoder:{j}:rank"] = str(rank)
    tensors[adapter.identifier] = adapter.vector[None].float().contiguous()
    metadata[adapter.identifier] = "<embed>"
    return tensor_bytes(tensors, metadata | ours(adapter))


def read_factors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B of such a file; its projections are numbered, not named, until `named` names them.

    Those of the text encoder have their names, if any of them has an edit.

    Raises:
        UserError: it is not of this form.
    """
    count = sum(k.startswith("unet:") and k.endswith(":up") for k in tensors)
    strange = [k for k in tensors if not _KEY.fullmatch(k) and metadata.get(k) != "<embed>"]
    if not count or strange:
        what = f"{shown(strange[0])} is no part of one" if strange else "has no unet:0:up"
        raise UserError(f"{path}: not a legacy adapter: {what}")
    found = {str(i): pair for i, pair in enumerate(_pairs(path, tensors, "unet", count))}
    ups = [k for k in tensors if k.startswith("text_encoder:") and k.endswith(":up")]
    if any(bool(tensors[k].any()) for k in ups):
        text = _pairs(path, tensors, "text_encoder", len(ups))
        layers, odd = divmod(len(text), _TEXT_PROJECTIONS)
        if odd:
            raise UserError(
                f"{path}: edits {len(text)} projections of a text encoder, not 4 a layer"
            )
        found |= zip(encoder_shapes([(layers, 0)]), text, strict=True)
    return found


def _pairs(
    path: Path, tensors: dict[str, Tensor], part: str, count: int
) -> list[tuple[Tensor, Tensor]]:
    """The numbered pairs of a part, all of one rank."""
    try:
        pairs = [
            (tensors[f"{part}:{i}:down"].float(), tensors[f"{part}:{i}:up"].float())
            for i in range(count)
        ]
    except KeyError as error:
        raise UserError(f"{path}: {error} is missing; the file is incomplete") from None
    rank = pairs[0][0].shape[0] if pairs[0][0].ndim else 0
    for i, (down, up) in enumerate(pairs):
        if down.ndim != 2 or up.ndim != 2 or not up.shape[1] == len(down) == rank:
            raise UserError(
                f"{path}: {part}:{i} is not a pair of matrices of the others' rank; files of other "
                "programs that adapt more than keys and values are not read"
            )
    return pairs


def module_order(names: Iterable[str]) -> list[str]:
    """A UNet's projection names in the order in which it holds its modules: down, up, then middle.

    Numbers count as numbers (attentions.10 after attentions.9), keys come before values.
    """

    def place(name: str) -> tuple[int, list[int], str]:
        block = next((n for n, b in enumerate(_BLOCKS) if name.startswith(b)), len(_BLOCKS))
        return block, [int(n) for n in re.findall(r"\d+", name)], name

    return sorted((name for name in names if not of_text_encoder(name)), key=place)


def named(adapter: Adapter, names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Factors by projection name; numbered ones get the base's names in module order.

    Raises:
        UserError: their number is not the base's.
    """
    numbered = [pair for key, pair in adapter.factors.items() if key.isdigit()]
    if not numbered:
        return adapter.factors
    if len(numbered) != len(names):
        raise UserError(
            f"this adapter edits {len(numbered)} projections, the base has "
            f"{len(names)}: it belongs to another base"
        )
    text = {name: adapter.factors[name] for name in text_names(adapter.factors)}
    return dict(zip(names, numbered, strict=True)) | text
