"""Checkpoints: one pickle-free file, published atomically, from which a run goes on exactly."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from textreg.errors import UserError
from textreg.file_kinds import shown

_KEEP = 2
_NAMES = "[01]-[0-9]*.safetensors"
DAMAGE = (
    SafetensorError,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    OSError,
    RecursionError,
)
"""What reading a damaged file may raise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """State after `step` steps of stage number `stage`."""

    stage: int
    step: int
    digest: str
    """Of the run it belongs to."""
    tensors: dict[str, Tensor]


def publish(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        UserError: the disk is full or read-only; names the path and the size. Or the file is there
            but may not outlive a power cut.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(partial, data)
        partial.replace(path)
    except OSError as error:
        # The first fault is the one to tell; what cannot be removed now is at the next start.
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UserError(refusal(path, error, len(data))) from None
    try:
        _flush_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"{path}: is written, but its folder cannot be flushed to the disk ({error.strerror}), "
            "so a power cut may undo it; look after that disk, then give the same command again"
        ) from None


def remove_partials(folder: Path) -> None:
    """Delete what a process that was killed while it wrote has left in a folder."""
    for leftover in folder.glob(".*.partial"):
        # What stays is in nobody's way; whether this folder can be written shows at the next save.
        with contextlib.suppress(OSError):
            leftover.unlink()


def delete_folder(folder: Path) -> None:
    """Delete a folder with all that is in it, if it is there.

    Raises:
        UserError: something in it cannot be deleted.
    """
    if folder.is_dir():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise UserError(f"{folder}: cannot be deleted ({error.strerror})") from None


def refusal(path: Path, error: OSError, size: int) -> str:
    """What to say of a file of so many bytes that cannot be written."""
    return (
        f"{path}: cannot be written ({error.strerror}), {size:,} bytes needed; "
        "make room or choose another --out, then give the same command again"
    )


def _write(path: Path, data: bytes) -> None:
    """Write and flush a file that is not there, whatever lies in its place: a link is not taken."""
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)


def _flush_folder(folder: Path) -> None:
    """Make a rename outlive a power cut, where the file system knows how to."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a network's file system
            raise
    finally:
        os.close(directory)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Publish a checkpoint, then delete all but the newest two.

    Raises:
        UserError: as `publish`; or an old one cannot be deleted.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
    metadata = {
        "stage": str(checkpoint.stage),
        "step": str(checkpoint.step),
        "digest": checkpoint.digest,
    }
    metadata["sha256"] = content_hash(metadata, tensors)
    path = folder / f"{checkpoint.stage}-{checkpoint.step:07d}.safetensors"
    publish(path, save(tensors, {"textreg.checkpoint": json.dumps(metadata)}))
    for old in sorted(folder.glob(_NAMES))[:-_KEEP]:
        try:
            old.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{old}: cannot be deleted ({error.strerror})") from None
    return path


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and a line for each damaged one passed over."""
    damaged: list[str] = []
    remove_partials(folder)
    for path in sorted(folder.glob(_NAMES), reverse=True):
        try:
            return _read(path), damaged
        except DAMAGE as error:
            damaged.append(f"{path}: damaged ({error}); going on from before it")
    return None, damaged


def refuse_unfit(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, exactly: bool = False
) -> None:
    """Refuse tensors that are not the ones wanted, by the first that is not.

    Args:
        found: what a checkpoint holds.
        wanted: tensors of the shape and type that it must hold.
        exactly: nothing else either.

    Raises:
        UserError: one is missing, of another shape or type, or nobody's.
    """
    if exactly and (more := sorted(found.keys() - wanted.keys())):
        raise UserError(f"holds '{shown(more[0])}', which this run has not")
    for name, tensor in wanted.items():
        if name not in found:
            raise UserError(f"lacks {name!r}")
        there, here = ((list(t.shape), t.dtype) for t in (found[name], tensor))
        if there != here:
            raise UserError(f"{name!r} is {there[0]} {there[1]} there, {here[0]} {here[1]} here")


def has_checkpoint(folder: Path) -> bool:
    """Whether a checkpoint lies there, whole or not."""
    return any(folder.glob(_NAMES))


def _read(path: Path) -> Checkpoint:
    if not path.is_file():  # a pipe would wait for ever
        raise ValueError("is not a plain file")
    with safe_open(path, framework="pt") as file:
        metadata = json.loads((file.metadata() or {})["textreg.checkpoint"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata.pop("sha256") != content_hash(metadata, tensors):
        raise ValueError("checksum differs")
    return Checkpoint(
        stage=int(metadata["stage"]),
        step=int(metadata["step"]),
        digest=metadata["digest"],
        tensors=tensors,
    )


def content_hash(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Of everything that a file says; a step number read wrong would be believed."""
    total = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        total.update(repr((name, tensors[name].dtype, tuple(tensors[name].shape))).encode())
        total.update(tensors[name].numpy().tobytes())
    return total.hexdigest()
