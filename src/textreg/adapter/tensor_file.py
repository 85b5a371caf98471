"""Bytes of a safetensors file that depend on its content alone; and the way back, checked.

safetensors writes metadata in an order that differs from process to process; a run that was
stopped and resumed could then not be compared by hash with one that was not.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from textreg.adapter.safe_header import open_checked
from textreg.errors import UserError
from textreg.file_kinds import shown

_ALIGNMENT = 8


def tensor_bytes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """A safetensors file: 8 bytes of header length, a header sorted by key, the tensors."""
    data = save(tensors, metadata)
    size = int.from_bytes(data[:_ALIGNMENT], "little")
    header = json.loads(data[_ALIGNMENT : _ALIGNMENT + size])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_ALIGNMENT, "little") + text + data[_ALIGNMENT + size :]


def content(data: bytes) -> bytes:
    """The tensors' bytes of a file, without its header."""
    return data[_ALIGNMENT + int.from_bytes(data[:_ALIGNMENT], "little") :]


def stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor as a file holds it: contiguous, on the CPU, of the file's type.

    Raises:
        UserError: a number is too large for that type.
    """
    small = tensor.detach().cpu().to(dtype).contiguous()
    if bool((torch.isinf(small) & ~torch.isinf(tensor.detach().cpu())).any()):
        name = str(dtype).removeprefix("torch.")
        raise UserError(f"the adapter has numbers that {name} cannot hold; write it with fp32")
    return small


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of an adapter's file; the only place where one is opened.

    Raises:
        UserError: it is missing, damaged, hostile (safe_header.py), or holds NaN.
    """
    data, metadata = open_checked(path)
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise UserError(f"{path}: cannot be read as safetensors ({shown(str(error))})") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{path}: {shown(json.dumps(name))} holds numbers that are not finite")
    return tensors, metadata
