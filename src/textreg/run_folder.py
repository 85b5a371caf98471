"""A run's folder: what it holds, who holds it, and whether it may be continued."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from textreg.adapter.diffusers_files import EMBEDDING_FILE, GATED_LORA_FILE, LORA_FILE
from textreg.checkpoint import publish, refusal
from textreg.config import NOT_IDENTITY, Run, plain, without_later
from textreg.environment import environment
from textreg.errors import UserError
from textreg.file_kinds import shown
from textreg.run_lock import LOCK_FILE, locked
from textreg.run_record import FORMAT, read_record, typed_in

_BEFORE_THE_CLAIM = (
    LOCK_FILE,
    ".environment.json.partial",
    "environment.json",
    ".run.yaml.partial",
)
"""What a run killed in its first moment may leave."""


class RunFolder:
    """run.yaml, environment.json, metrics.jsonl, checkpoints/ and what the run leaves there."""

    def __init__(self, run: Run, rank: int = 0):
        """See the folder as a rank of several does: what it adds to the metrics is in its file."""
        self.run = run
        self.path = run.out
        self.checkpoints = run.out / "checkpoints"
        self.views = self.checkpoints / "views"
        self.metrics = run.out / (f"metrics-{rank}.jsonl" if rank else "metrics.jsonl")

    def concept_folder(self, name: str) -> Path:
        """Where one concept's adapter goes: the run's own folder if it is the only one."""
        return self.path if len(self.run.concepts) == 1 else self.path / name

    @property
    def finished(self) -> bool:
        """Whether every concept's adapter and model card are there; the card comes last."""
        folders = [self.concept_folder(c.name) for c in self.run.concepts]
        return all(_complete(folder) for folder in folders) and self.same_run()

    @property
    def begun(self) -> bool:
        """Whether a run has claimed the folder."""
        return (self.path / "run.yaml").is_file()

    def same_run(self) -> bool:
        """Whether the folder holds this very run."""
        return self.begun and not self.differences()

    @contextmanager
    def held(self, pictures: dict[str, list[str]], *, take_over: bool = False) -> Generator[None]:
        """Create or reopen the folder and lock it while training.

        Args:
            pictures: sha256 of each concept's pictures, in order, by concept.
            take_over: go on where a process of another machine is on record.

        Raises:
            UserError: the folder cannot be written, is in use, holds another run, or leads out of
                itself.
        """
        self.refuse_another(pictures)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--out {self.path}: cannot be written ({error.strerror}); choose another folder"
            ) from None
        with locked(self.path, take_over=take_over):
            # Another process may have filled and left it since.
            self.refuse_another(pictures)
            self._refuse_ways_out()
            if self.begun and (line := self._other_versions()):
                print(f"textreg: {line}", file=sys.stderr)
            yield

    def _refuse_ways_out(self) -> None:
        """Everything that is written stays in the folder, and nothing in it can block."""
        home = self.path.resolve()
        owned = [self.path, self.checkpoints, self.views, self.path / "class_images"]
        owned += [self.path / c.name for c in self.run.concepts]
        owned += [folder / name for folder in owned for name in ("samples", "front")]
        for path in (path for folder in owned for path in sorted(folder.glob("*"))):
            try:
                target = path.resolve()
            except (OSError, RuntimeError):  # RuntimeError: a link to itself, before Python 3.13
                target = None
            if target is None or not target.is_relative_to(home):
                raise UserError(f"{path}: is a link out of the run's folder; remove it")
            if not (path.is_file() or path.is_dir() or path.is_symlink()):
                raise UserError(f"{path}: is a pipe or a device; remove it")

    def refuse_another(self, pictures: dict[str, list[str]]) -> None:
        """Refuse a folder that another run, or something else, fills.

        Raises:
            UserError: says which setting differs, or what lies there.
        """
        if self.begun:
            if differences := self.differences(pictures):
                raise UserError(
                    f"{self.path} holds another run: {'; '.join(differences)}. "
                    "Choose another --out, or give train --force-new to put it aside and start over"
                )
        elif self.path.is_dir() and (
            others := sorted(p.name for p in self.path.iterdir() if p.name not in _BEFORE_THE_CLAIM)
        ):
            raise UserError(
                f"{self.path}: is no run's folder and not empty ({others[0]}); choose another --out"
            )

    def claim(self, pictures: dict[str, list[str]], base: str, how: dict[str, Any]) -> None:
        """Write environment.json and run.yaml once nothing can refuse the run any more.

        Args:
            pictures: as in `held`.
            base: `base_digest` of the base.
            how: what was chosen for this machine, to be kept when the run goes on.

        Raises:
            UserError: the run began with another base under this name.
        """
        if self.begun:
            # Folders of imported files, which no base has made, have none on record.
            if read_record(self.path).get("base_digest", base) != base:
                raise UserError(
                    f"{self.path}: the base {self.run.base} has changed since this run began; "
                    "bring that one back, or choose another --out to start over"
                )
            return
        record = {
            "format": FORMAT,
            "run": plain(self.run),
            "pictures": pictures,
            "base_digest": base,
            "typed_in": typed_in(self.path),
        }
        content = json.dumps(environment() | how, indent=2).encode()
        # First, as with run.yaml the folder is this run's, and its choices are then there.
        publish(self.path / "environment.json", content)
        publish(
            self.path / "run.yaml",
            yaml.safe_dump(json.loads(json.dumps(record)), sort_keys=False).encode(),
        )

    def _other_versions(self) -> str | None:
        """Which packages are of another version than when the run began, in words."""
        here, there = environment()["packages"], self.chosen("packages")
        if not isinstance(there, dict):
            return None
        changed = [
            f"{name} {shown(str(there.get(name)))} there, {here[name]} here"
            for name in here
            if there.get(name) != here[name]
        ]
        if not changed:
            return None
        return (
            f"{self.path}: began with other versions ({', '.join(changed)}): it goes on, but not "
            "to the very same bytes"
        )

    def chosen(self, key: str) -> Any:
        """What `claim` was told of this key; none: the run has not begun, or was not told."""
        path = self.path / "environment.json"
        if not self.begun or not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8")).get(key)
        except (ValueError, AttributeError):
            raise UserError(f"{path}: is damaged; choose another --out") from None

    def differences(self, pictures: dict[str, list[str]] | None = None) -> list[str]:
        """What tells the run that has begun here from this one, in words.

        Args:
            pictures: as in `held`; none: they are not compared.
        """
        record = read_record(self.path)
        there, here = (_flat(without_later(Run, r)) for r in (record["run"], plain(self.run)))
        lines = [
            f"{key} is {there.get(key)!r} there, {here.get(key)!r} here"
            for key in sorted(there.keys() | here.keys())
            if there.get(key) != here.get(key)
            and key.split(".")[0] not in NOT_IDENTITY
            # The same pictures may be named by another path; their hashes are compared below.
            and not (
                re.fullmatch(r"concepts\.\d+\.(images|masks)", key) and key in there and key in here
            )
        ]
        lines += self._other_names(there)
        if pictures is not None and record.get("pictures") != pictures and not lines:
            lines.append("the pictures have changed since")
        return lines

    def _other_names(self, there: dict[str, Any]) -> list[str]:
        """Folders of other names, which decide random streams; "." says none."""
        recorded = [there.get(f"concepts.{n}.images") for n in range(len(self.run.concepts))]
        return [
            f"concepts.{number}.images is {known!r} there, {str(concept.images)!r} here"
            for number, (known, concept) in enumerate(zip(recorded, self.run.concepts, strict=True))
            if known is not None and Path(known).name not in ("", "..", concept.name)
        ]

    def note(self, lines: Sequence[str]) -> None:
        """Add lines to the metrics.

        Raises:
            UserError: the disk is full or read-only; names the path and the size.
        """
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            with self.metrics.open("ab") as file:
                file.write(data)
        except OSError as error:
            raise UserError(refusal(self.metrics, error, len(data))) from None

    def truncate_metrics(self, steps_done: int, concepts: Collection[str]) -> str | None:
        """Drop the lines of these concepts' steps after a checkpoint: they are taken again.

        Returns:
            A line for the user, if records of steps that stay done are damaged.
        """
        if not self.metrics.is_file():
            return None
        kept: list[bytes] = []
        damaged: list[int] = []
        lines = self.metrics.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            found = place_of(line)
            if found is None:
                damaged.append(number)
            elif found[0] <= steps_done or found[1] not in concepts:
                kept.append(line + b"\n")
        # What follows the last line break was cut off by a kill: it is newer than the checkpoint.
        publish(self.metrics, b"".join(kept))
        if not damaged:
            return None
        return f"{self.metrics}: line {damaged[0]} is damaged ({len(damaged)} in all); left out"


def _complete(folder: Path) -> bool:
    """Nothing of a finished concept has been moved away since."""
    lora = (folder / LORA_FILE).is_file() or (folder / GATED_LORA_FILE).is_file()
    return lora and all((folder / name).is_file() for name in (EMBEDDING_FILE, "README.md"))


def place_of(line: bytes) -> tuple[int, str] | None:
    """The step and concept that a line of the metrics is about, if it is whole."""
    try:
        record = json.loads(line)
        step, concept = record["global_step"], record["concept"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (step, concept) if type(step) is int and isinstance(concept, str) else None


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
