"""What a step has made already, found by a hash of everything that decided it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from textreg.adapter.tensor_file import tensor_bytes
from textreg.checkpoint import publish
from textreg.errors import UserError


def digest(*parts: Any) -> str:
    """A name for plain data: equal data, equal name."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def files_digest(files: Iterable[Path]) -> str:
    """sha256 over the names and bytes of files, in order of name."""
    total = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        with path.open("rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def publish_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Publish plain data as a JSON file.

    Raises:
        UserError: a number in it is not finite, for which JSON has no word; or as `publish`.
    """
    try:
        text = json.dumps(content, indent=indent, allow_nan=False)
    except ValueError:
        raise UserError(
            f"{path}: not written, a number in it is not finite: the base, the adapter or the "
            "extractor overflows; try --dtype fp32"
        ) from None
    publish(path, text.encode())


def kept_json(path: Path, make: Callable[[], Any]) -> Any:
    """The content of a JSON file, which is made and written if it is not there."""
    if not path.is_file():
        publish_json(path, make())
    return json.loads(path.read_text())


def kept_tensors(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """As `kept_json`, for tensors in a safetensors file."""
    if not path.is_file():
        # Copies: safetensors refuses tensors that share memory.
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in make().items()}
        publish(path, tensor_bytes(tensors, {"format": "pt"}))
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
