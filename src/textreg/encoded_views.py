"""VAE moments of a run's kept views on disk, so that a run that goes on encodes none again.

RUN/checkpoints/views/NAME.safetensors holds some views by hash of what each was made of; the
metadata has a checksum of each and says what encoded them all. Files are added, never changed; what
is damaged or of another encoder is deleted and made again, and all are when nothing is left to
train.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from textreg.checkpoint import DAMAGE, content_hash, delete_folder, publish
from textreg.errors import UserError
from textreg.file_kinds import shown

SECONDS = 10.0
"""Of encoding that are worth a file. It is what a kill may cost; where encoding is fast there are
no files."""
_METADATA = "textreg.views"


class EncodedViews:
    """What is there, and what waits to be written."""

    def __init__(self, folder: Path, encoder: dict[str, Any], *, writer: int | None = 0):
        """See what is there.

        Args:
            folder: where the files lie or will lie.
            encoder: what decides moments beside the picture, JSON's types; files of another one
                are out of date.
            writer: number of this process among those that add and delete files; none: it only
                reads, as another one trains the same concepts.
        """
        self._folder, self._encoder, self._writer = folder, encoder, writer
        self._files: dict[str, Path] = {}
        self._waiting: dict[str, Tensor] = {}
        self._seconds = 0.0
        for path in sorted(folder.glob("*.safetensors")):
            self._look_into(path)

    def _look_into(self, path: Path) -> None:
        try:
            encoder, sums = _header(path)
        except DAMAGE as error:
            self._drop(path, error)
            return
        if encoder == self._encoder:
            self._files |= dict.fromkeys(sums, path)
        else:
            self._drop(path)

    def read(self, key: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
        """The moments of a view, on the CPU if they come from a file; none: it is not there.

        Args:
            key: hash of all that the view was made of.
            shape: of its moments.
            dtype: of its moments.
        """
        if key in self._waiting:
            return self._waiting[key]
        if (path := self._files.get(key)) is None:
            return None
        try:
            wanted = _header(path)[1][key]
            with safe_open(path, framework="pt") as file:
                moments = file.get_tensor(key)
            if content_hash(self._encoder, {key: moments}) != wanted:
                raise ValueError("checksum differs")
            if moments.shape != shape or moments.dtype != dtype:
                raise ValueError(f"a view is {list(moments.shape)} {moments.dtype}")
        except DAMAGE as error:
            self._drop(path, error)
            return None
        return moments

    def keep(self, key: str, moments: Tensor, seconds: float) -> None:
        """Keep a view that was encoded in so many seconds.

        Raises:
            UserError: a file is due and cannot be written.
        """
        if self._writer is None:
            return
        self._waiting[key] = moments
        self._seconds += seconds
        if self._seconds >= SECONDS:
            self._write()

    def _write(self) -> None:
        tensors = {k: t.detach().cpu().contiguous() for k, t in self._waiting.items()}
        sums = {key: content_hash(self._encoder, {key: t}) for key, t in tensors.items()}
        metadata = json.dumps({"encoder": self._encoder, "sha256": sums})
        name = hashlib.sha256("".join(sorted(tensors)).encode()).hexdigest()[:16]
        path = self._folder / f"{self._writer}-{name}.safetensors"
        publish(path, save(tensors, {_METADATA: metadata}))
        self._files |= dict.fromkeys(tensors, path)
        self._waiting, self._seconds = {}, 0.0

    def _drop(self, path: Path, damage: Exception | None = None) -> None:
        """Forget a file, delete it, and say so if it is damaged."""
        self._files = {key: place for key, place in self._files.items() if place != path}
        if self._writer is None:
            return
        if damage is not None:
            line = f"textreg: {path}: damaged ({shown(str(damage))}); its views are encoded again"
            print(line, file=sys.stderr)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be deleted ({error.strerror})") from None

    def discard(self) -> None:
        """Delete the files: nothing is left to train.

        Raises:
            UserError: one cannot be deleted.
        """
        delete_folder(self._folder)


def _header(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What encoded a file's views, and the checksum of each."""
    if not path.is_file():  # a pipe would wait for ever
        raise ValueError("is not a plain file")
    with safe_open(path, framework="pt") as file:
        metadata = json.loads((file.metadata() or {})[_METADATA])
        names = set(file.keys())
    encoder, sums = metadata["encoder"], metadata["sha256"]
    if sums.keys() != names:
        raise ValueError("its names differ from those of its checksums")
    return encoder, sums
