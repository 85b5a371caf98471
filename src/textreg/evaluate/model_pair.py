"""Base and tuned model, known by the hash of their files, loaded only when something is missing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch

from textreg.adapter import Adapter
from textreg.backbone import Backbone, load
from textreg.base_digest import base_digest
from textreg.base_files import BaseFiles
from textreg.config import Run
from textreg.errors import UserError
from textreg.evaluate.epsilon_drift import EpsilonDrift
from textreg.evaluate.shots import ModelName
from textreg.evaluate.store import digest, files_digest
from textreg.run_record import read_record
from textreg.sampling import PictureModel


class Base:
    """A base model on disk."""

    def __init__(self, source: str, revision: str | None, device: str, dtype: str):
        """Find, check and hash it.

        Raises:
            UserError: no such base, or not of a supported family.
        """
        self._source, self._revision, self._device, self._dtype = source, revision, device, dtype
        self._files = BaseFiles.of(source, revision)
        gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
        # The same weights draw other pictures in another precision.
        precision = dtype if dtype != "auto" else "bf16" if gpu else "fp32"
        weights = [files_digest(part) for part in self._files.contents()]
        self.key = digest(weights, precision, gpu)
        self._backbone: Backbone | None = None
        self._epsilon: dict[tuple[tuple[str, ...], int, int], EpsilonDrift] = {}

    def refuse_run_of_another(self, run: Run) -> None:
        """Refuse a run that was trained on other weights, even of the same shapes.

        Folders of imported files, which no base has made, and those of older versions have no
        base on record; only the shapes are held against it, when the adapter is put in.

        Raises:
            UserError: names the base that the run was trained on.
        """
        trained_on, here = read_record(run.out).get("base_digest"), self.sha256
        if trained_on in (None, here):
            return
        raise UserError(
            f"{run.out}: was trained on the base {run.base} (sha256 {str(trained_on)[:12]}...), "
            f"and {self._source} is now another ({here[:12]}...): drift from a base that it never "
            "had would mean nothing; bring that one back, or name its place with --base"
        )

    @cached_property
    def sha256(self) -> str:
        """`base_digest` of its files, as runs have it on record."""
        return base_digest(self._files.place)

    @property
    def folder(self) -> Path:
        """Where it may keep questions of its own."""
        return self._files.folder

    @property
    def side(self) -> int:
        """Side of its pictures in pixels, from its configuration alone."""
        return self._files.resolution

    @property
    def timesteps(self) -> int:
        """Of its noise schedule, from its configuration alone."""
        return self._files.timesteps

    @property
    def backbone(self) -> Backbone:
        """Loaded at the first call."""
        if self._backbone is None:
            self._backbone = load(
                self._source, revision=self._revision, device=self._device, dtype=self._dtype
            )
        return self._backbone

    def epsilon(
        self, prompts: Sequence[str], num_timesteps: int, seed: int, batch_size: int
    ) -> EpsilonDrift:
        """The base's side of epsilon-drift; computed once, whatever is compared with it."""
        key = (tuple(prompts), num_timesteps, seed)
        if key not in self._epsilon:
            model = PictureModel(self.backbone)
            self._epsilon[key] = EpsilonDrift(
                model, prompts, num_timesteps=num_timesteps, seed=seed, batch_size=batch_size
            )
        return self._epsilon[key]


class ModelPair:
    """The base, and the base with one concept."""

    def __init__(self, base: Base, adapter: Adapter, files: list[Path]):
        self.keys: dict[ModelName, str] = {
            "base": base.key,
            "tuned": digest(base.key, files_digest(files)),
        }
        self.base, self._adapter = base, adapter
        self._models: dict[ModelName, PictureModel] = {}

    def __call__(self, name: ModelName) -> PictureModel:
        """A model, put together at its first use.

        Raises:
            UserError: the adapter belongs to another base.
        """
        if name not in self._models:
            adapter = self._adapter if name == "tuned" else None
            self._models[name] = PictureModel(self.base.backbone, adapter)
        return self._models[name]
