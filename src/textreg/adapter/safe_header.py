"""What is looked at of a safetensors file before one tensor of it is made: its header alone.

safetensors itself refuses offsets that overlap, leave holes or leave the file, and shapes that do
not fit them. This adds what it lets through: a name or a metadata key given twice, a header of 100
megabytes, shapes that hold nothing but claim much, types that no adapter has, and things that are
no file at all (opening a pipe would wait for ever).
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from textreg.errors import UserError
from textreg.file_kinds import describe_content, shown

_MOST_FILE = 1 << 30
"""Bytes; Stable Diffusion's largest adapters have a few hundred megabytes."""
_MOST_HEADER = 1 << 22
"""Bytes; 161 tensors take 16 thousand, and a picture in the metadata a million."""
_MOST_SIZE = 1 << 20
"""Of one dimension."""
_LENGTH = 8
_FLOATS = ("F64", "F32", "F16", "BF16")
_NUMBERS = (*_FLOATS, "I64", "I32", "I16", "I8", "U8")
"""kohya's alpha may be a whole number; nothing else may."""
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class _Twice(ValueError):
    """A name that a JSON object gives twice."""


def open_checked(path: Path) -> tuple[bytes, dict[str, str]]:
    """Read a whole safetensors file whose header holds nothing odd.

    Returns:
        The file's bytes, and its metadata.

    Raises:
        UserError: it is no file, too large, or its header is not that of an adapter; in one line,
            before anything as large as the file says it is has been allocated.
    """
    with _opened(path, _MOST_FILE, "adapter") as (file, size):
        start, metadata = _checked_header(path, file, size)
        return start + file.read(size - len(start)), metadata


@contextmanager
def _opened(path: Path, most: int, kind: str) -> Generator[tuple[BinaryIO, int]]:
    """A file and its size."""
    try:
        # A pipe is opened without waiting for its other end, and refused.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{path}: is not a file")
            if status.st_size > most:
                raise UserError(f"{path}: has {status.st_size:,} bytes; no {kind} is so large")
            yield file, status.st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def read_header(path: Path, *, most_file: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The header of a safetensors file of whole models, whose tensors are not read.

    Returns:
        What it says of each tensor, and its metadata.

    Raises:
        UserError: as `open_checked`; counters and positions may be whole numbers of any shape.
    """
    with _opened(path, most_file, "checkpoint") as (file, size):
        text, metadata = _checked_header(path, file, size, whole_numbers=True)
    header = json.loads(text[_LENGTH:])
    header.pop("__metadata__", None)
    return header, metadata


def _checked_header(
    path: Path, file: BinaryIO, size: int, *, whole_numbers: bool = False
) -> tuple[bytes, dict[str, str]]:
    """The first bytes up to the tensors, and the metadata."""
    start = file.read(_LENGTH)
    length = int.from_bytes(start, "little")
    if len(start) < _LENGTH or length > size - _LENGTH:
        # Only now: the length of a sound header may look like the beginning of a pickle.
        if start.startswith(_PICKLES):
            raise UserError(f"{path}: {pickle_advice('a pickle under this name')}")
        kind = describe_content(start + file.read(64))
        raise UserError(f"{path}: cannot be read as safetensors (it is cut off, or {kind})")
    if length > _MOST_HEADER:
        raise UserError(f"{path}: its header has {length:,} bytes; the most is {_MOST_HEADER:,}")
    text = file.read(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except _Twice as error:
        raise UserError(f"{path}: gives '{shown(str(error))}' twice") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: cannot be read as safetensors (its header is no JSON)") from None
    if not isinstance(header, dict):
        raise UserError(f"{path}: cannot be read as safetensors (its header is no JSON object)")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise UserError(f"{path}: its metadata is not text")
    for name, entry in header.items():
        if problem := _problem(entry, whole_numbers):
            raise UserError(f"{path}: the tensor '{shown(name)}' {problem}")
    return start + text, metadata


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        raise _Twice(next(name for name, _ in pairs if name in seen or seen.add(name)))
    return found


def _problem(entry: Any, whole_numbers: bool) -> str | None:
    """What is wrong with a tensor's description, if anything that safetensors would let pass."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return "is not described by type, shape and place"
    dtype, shape = entry["dtype"], entry["shape"]
    if not isinstance(shape, list) or any(type(n) is not int for n in shape):
        return "has a shape that is not whole numbers"
    counts = whole_numbers or shape in ([], [1])
    if dtype not in _NUMBERS or (dtype not in _FLOATS and not counts):
        return f"is of type {shown(str(dtype))}; an adapter's are {', '.join(_FLOATS)}"
    if len(shape) > 4 or any(not 0 <= n <= _MOST_SIZE for n in shape):
        return f"has the shape {shown(str(shape))}, which no adapter's tensor has"
    return None


def pickle_advice(what: str) -> str:
    """Why a pickle is refused, and what to do."""
    return (
        f"{what}, which can run code when opened; it is never loaded. docs/formats.md (Pickles) "
        "says how to convert it to safetensors"
    )
