"""Base and tuned model, known by the hash of their files, loaded only when something is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from textreg.adapter import Adapter
from textreg.backbone import Backbone, find, load
from textreg.base_screen import screen
from textreg.evaluate.epsilon_drift import EpsilonDrift
from textreg.evaluate.shots import ModelName
from textreg.evaluate.store import digest, files_digest
from textreg.sampling import PictureModel

_READ = (".json", ".txt", ".safetensors")
_PARTS = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")


class Base:
    """A base model on disk."""

    def __init__(self, source: str, revision: str | None, device: str, dtype: str):
        """Find, check and hash it.

        Raises:
            UserError: no such base, or not a Stable Diffusion 1.x folder.
        """
        self._source, self._revision, self._device, self._dtype = source, revision, device, dtype
        self.folder: Path = find(source, revision)
        screen(self.folder)
        gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
        # The same weights draw other pictures in another precision.
        precision = dtype if dtype != "auto" else "bf16" if gpu else "fp32"
        weights = [
            files_digest(f for f in (self.folder / part).iterdir() if f.suffix in _READ)
            for part in _PARTS
        ]
        self.key = digest(weights, precision, gpu)
        self._backbone: Backbone | None = None
        self._epsilon: dict[tuple[tuple[str, ...], int, int], EpsilonDrift] = {}

    @property
    def side(self) -> int:
        """Side of its pictures in pixels, from its configuration alone."""
        unet, vae = (
            json.loads((self.folder / part / "config.json").read_text()) for part in ("unet", "vae")
        )
        return int(unet["sample_size"]) * 2 ** (len(vae["block_out_channels"]) - 1)

    @property
    def backbone(self) -> Backbone:
        """Loaded at the first call."""
        if self._backbone is None:
            self._backbone = load(
                self._source, revision=self._revision, device=self._device, dtype=self._dtype
            )
        return self._backbone

    def epsilon(self, prompts: Sequence[str], num_timesteps: int, seed: int) -> EpsilonDrift:
        """The base's side of epsilon-drift; computed once, whatever is compared with it."""
        key = (tuple(prompts), num_timesteps, seed)
        if key not in self._epsilon:
            model = PictureModel(self.backbone)
            self._epsilon[key] = EpsilonDrift(
                model, prompts, num_timesteps=num_timesteps, seed=seed
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
