"""A run's folder: what it holds, who holds it, and whether it may be continued."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import platform
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from textreg.checkpoint import publish
from textreg.config import Run, plain, without_later
from textreg.errors import UserError

_BEFORE_THE_CLAIM = (".lock", ".run.yaml.partial")
"""What a run killed in its first moment may leave."""
_PACKAGES = ("textreg", "torch", "diffusers", "transformers", "safetensors", "numpy", "Pillow")


class RunFolder:
    """run.yaml, environment.json, metrics.jsonl, checkpoints/ and what the run leaves there."""

    def __init__(self, run: Run):
        self.run = run
        self.path = run.out
        self.checkpoints = run.out / "checkpoints"
        self.metrics = run.out / "metrics.jsonl"

    def concept_folder(self, name: str) -> Path:
        """Where one concept's adapter goes: the run's own folder if it is the only one."""
        return self.path if len(self.run.concepts) == 1 else self.path / name

    @property
    def finished(self) -> bool:
        """Whether every concept's adapter and model card are there; the card comes last."""
        return (
            all((self.concept_folder(c.name) / "README.md").is_file() for c in self.run.concepts)
            and self.same_run()
        )

    def same_run(self) -> bool:
        """Whether the folder holds this very run."""
        return (self.path / "run.yaml").is_file() and not self._differences()

    @contextmanager
    def held(self, pictures: dict[str, list[str]]) -> Generator[None]:
        """Create or reopen the folder and lock it while training.

        Args:
            pictures: sha256 of each concept's pictures, in order, by concept.

        Raises:
            UserError: the folder cannot be written, is in use, or holds another run.
        """
        self.refuse_another(pictures)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("a+")
        except OSError as error:
            raise UserError(
                f"--out {self.path}: cannot be written ({error.strerror}); choose another folder"
            ) from None
        with lock:
            self._lock(lock)
            # Another process may have filled and left it since.
            self.refuse_another(pictures)
            yield

    def _lock(self, lock: Any) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(f"{self.path}: in use by {lock.read().strip()}") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.ctime()}\n")
        lock.flush()

    def refuse_another(self, pictures: dict[str, list[str]]) -> None:
        """Refuse a folder that another run, or something else, fills.

        Raises:
            UserError: says which setting differs, or what lies there.
        """
        if (self.path / "run.yaml").is_file():
            if differences := self._differences(pictures):
                raise UserError(
                    f"{self.path} holds another run: {'; '.join(differences)}. "
                    "Choose another --out, or delete that folder to start over"
                )
        elif self.path.is_dir() and (
            others := sorted(p.name for p in self.path.iterdir() if p.name not in _BEFORE_THE_CLAIM)
        ):
            raise UserError(
                f"{self.path}: is no run's folder and not empty ({others[0]}); choose another --out"
            )

    def claim(self, pictures: dict[str, list[str]]) -> None:
        """Write run.yaml and environment.json once nothing can refuse the run any more."""
        if (self.path / "run.yaml").is_file():
            return
        record = {"run": plain(self.run), "pictures": pictures}
        publish(self.path / "run.yaml", yaml.safe_dump(record, sort_keys=False).encode())
        publish(self.path / "environment.json", json.dumps(environment(), indent=2).encode())

    def _differences(self, pictures: dict[str, list[str]] | None = None) -> list[str]:
        record = read_record(self.path)
        there, here = (_flat(without_later(Run, r)) for r in (record["run"], plain(self.run)))
        keys = _identity_keys(self.run)
        lines = [
            f"{key} is {there.get(key)!r} there, {here.get(key)!r} here"
            for key in sorted(there.keys() | here.keys())
            if there.get(key) != here.get(key)
            and key.split(".")[0] in keys
            # The same pictures may be named by another path; their hashes are compared below.
            and not key.endswith((".images", ".masks"))
        ]
        if pictures is not None and record.get("pictures") != pictures and not lines:
            lines.append("the pictures have changed since")
        return lines

    def truncate_metrics(self, steps_done: int) -> None:
        """Drop the lines of steps that come after a checkpoint: they are taken again."""
        if not self.metrics.is_file():
            return
        kept: list[str] = []
        for line in self.metrics.read_text().splitlines():
            try:
                if json.loads(line)["global_step"] <= steps_done:
                    kept.append(line)
            except (ValueError, KeyError):
                break  # a line cut off by a kill: it and all after it are newer than the checkpoint
        publish(self.metrics, "".join(line + "\n" for line in kept).encode())


def read_record(folder: Path) -> dict[str, Any]:
    """The content of run.yaml.

    Raises:
        UserError: it is missing or not what this program writes.
    """
    path = folder / "run.yaml"
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; is this a run's folder?") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{path}: is not readable YAML; was it edited?") from None
    if not isinstance(record, dict) or not isinstance(record.get("run"), dict):
        raise UserError(f"{path}: is not a run's record")
    return record


def environment() -> dict[str, Any]:
    """Versions and hardware, without names of machines or people."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }


def _identity_keys(run: Run) -> set[str]:
    return set(run.identity())


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested data as dotted keys; lists of sections get their index."""
    if isinstance(data, dict):
        items = [(str(k), v) for k, v in data.items()]
    elif isinstance(data, list) and any(isinstance(x, dict) for x in data):
        items = [(str(i), v) for i, v in enumerate(data)]
    else:
        return {prefix.removesuffix("."): data}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flat(value, f"{prefix}{key}.")
    return flat
