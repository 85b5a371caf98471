"""Bytes of a safetensors file that depend on its content alone.

safetensors writes metadata in an order that differs from process to process; a run that was
stopped and resumed could then not be compared by hash with one that was not.
"""

from __future__ import annotations

import json

from safetensors.torch import save
from torch import Tensor

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
