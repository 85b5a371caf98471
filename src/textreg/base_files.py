"""A base on disk: found, screened, and its parts loaded from a folder or from one checkpoint."""

from __future__ import annotations

import re
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from textreg.base_configs import CONFIGS, clip_merges, vocabulary
from textreg.base_screen import read_json, screen
from textreg.bases import embedded_names, local_folder
from textreg.errors import UserError
from textreg.families import FAMILIES, other_channels, parts_of
from textreg.library_bars import without_library_bars
from textreg.out_of_memory import shortage
from textreg.single_file import Checkpoint, recognise

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseFiles:
    """Where a base's configurations and weights are."""

    folder: Path
    """Laid out as diffusers does; of a checkpoint the family's own configurations."""
    parts: dict[str, str]
    """Class of each part, by its folder's name."""
    checkpoint: Checkpoint | None = None
    """The one file that has all weights; none: they are in the folder."""

    @classmethod
    def of(cls, source: str, revision: str | None = None) -> BaseFiles:
        """Find a base, and refuse what is unsafe or of another kind, before anything slow.

        Raises:
            UserError: no such base, or what is wrong with which of its files.
        """
        place = find(source, revision)
        if place.is_file():
            checkpoint = recognise(place)
            folder = CONFIGS / checkpoint.family
        else:
            screen(place)
            checkpoint, folder = None, place
        parts = parts_of(read_json(folder / "model_index.json"))
        files = cls(folder=folder, parts=parts, checkpoint=checkpoint)
        files._refuse_other_kinds(source)
        return files

    @property
    def place(self) -> Path:
        """What lies on the disk: the checkpoint, or the folder."""
        return self.folder if self.checkpoint is None else self.checkpoint.path

    def config(self, part: str) -> dict[str, Any]:
        """A part's configuration."""
        return read_json(self.folder / part / "config.json")

    def scheduler(self) -> dict[str, Any]:
        """The noise schedule, without the class that it was saved for."""
        config = read_json(self.folder / "scheduler" / "scheduler_config.json")
        if self.checkpoint is not None:
            config |= self.checkpoint.schedule
        # Latents are no pixels: where nothing is said, they are not clipped.
        return {"clip_sample": False} | {k: v for k, v in config.items() if not k.startswith("_")}

    @property
    def silent_without_negative(self) -> bool:
        """Guided away from zeros where no negative prompt is given; otherwise from the empty one.

        Source: force_zeros_for_empty_prompt of diffusers' StableDiffusionXLPipeline.
        """
        if "text_encoder_2" not in self.parts:
            return False
        index = read_json(self.folder / "model_index.json")
        return bool(index.get("force_zeros_for_empty_prompt", True))

    @property
    def timesteps(self) -> int:
        """Of the noise schedule; diffusers' own number where nothing is said."""
        return self.scheduler().get("num_train_timesteps", 1000)

    @property
    def resolution(self) -> int:
        """The base's own picture side in pixels."""
        return int(self.config("unet")["sample_size"]) * self.factor

    @property
    def factor(self) -> int:
        """Pixels a latent."""
        return 2 ** (len(self.config("vae")["block_out_channels"]) - 1)

    def tokenizer(self, part: str = "tokenizer") -> Any:
        """A tokenizer of one's own, to add words to."""
        from transformers import CLIPTokenizer

        folder = self.folder / part
        if self.checkpoint is None:
            return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        merges = clip_merges()
        options: dict[str, Any] = read_json(folder / "tokenizer_config.json")
        options["merges"] = list(merges)
        del options["tokenizer_class"]
        return CLIPTokenizer(vocab=vocabulary(merges), **options)

    @without_library_bars()
    def load(self, part: str, dtype: torch.dtype) -> Any:
        """A part's model in the given precision, whatever its file is in.

        Raises:
            UserError: the weights cannot be read, or some are missing.
        """
        if self.checkpoint is not None:
            return self.checkpoint.load(self.folder, part, self.parts[part], dtype)
        where = self.folder / part
        options: dict[str, Any] = {
            "dtype" if part.startswith("text_encoder") else "torch_dtype": dtype,
            "use_safetensors": True,
            "local_files_only": True,
            "output_loading_info": True,
        }
        if variant := _variant(where):
            options["variant"] = variant
        try:
            model, report = model_class(self.parts[part]).from_pretrained(where, **options)
        except (OSError, ValueError, RuntimeError) as error:
            if shortage(error) is not None:
                raise
            first = str(error).strip().splitlines()[0]
            raise UserError(f"{where}: cannot be loaded: {first}") from error
        if missing := sorted(report["missing_keys"]):
            raise UserError(f"{where}: {missing[0]} is missing, and {len(missing) - 1} more")
        return model

    def contents(self) -> list[list[Path]]:
        """The files that a base is, part by part; equal files are an equal base."""
        if self.checkpoint is not None:
            return [[self.checkpoint.path]]
        read = (".json", ".txt", ".safetensors")
        return [
            [f for f in (self.folder / part).iterdir() if f.suffix in read]
            for part in (*self.parts, "scheduler")
        ]

    def _refuse_other_kinds(self, source: str) -> None:
        """What has a Stable Diffusion's parts and is none.

        Raises:
            UserError: it reads more than a text and a noisy picture.
        """
        unet, vae = self.config("unet"), self.config("vae")
        wanted = "text_time" if "text_encoder_2" in self.parts else None
        if unet.get("addition_embed_type") != wanted:
            raise UserError(
                f"{source}: its denoiser has addition_embed_type {unet.get('addition_embed_type')} "
                f"in place of {wanted}"
            )
        latent = vae.get("latent_channels", 4)
        if unet.get("in_channels", 4) != latent:
            raise UserError(f"{source}: {other_channels(unet['in_channels'], latent)}")
        for key in ("class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim"):
            if unet.get(key) is not None:
                raise UserError(
                    f"{source}: its denoiser has {key} {unet[key]}; {FAMILIES} have none"
                )


def model_class(name: str) -> Any:
    """A part's class, of diffusers or transformers."""
    import diffusers
    import transformers

    return getattr(transformers if name.startswith("CLIP") else diffusers, name)


def _variant(folder: Path) -> str | None:
    """The precision that stands in the weights' names where there are no others."""
    names = {p.name for p in folder.glob("*.safetensors*")}
    if any(
        re.fullmatch(r"(diffusion_pytorch_)?model\.safetensors(\.index\.json)?", n) for n in names
    ):
        return None
    found = (re.search(r"model\.(?:safetensors\.index\.)?(fp16|bf16)\b", n) for n in sorted(names))
    return next((match[1] for match in found if match), None)


def find(source: str, revision: str | None = None) -> Path:
    """The folder or checkpoint of a base; a hub id is looked up in the cache, then downloaded.

    Raises:
        UserError: one line that says what was looked for, at once when offline.
    """
    folder = local_folder(source)
    if folder is not None:
        return folder
    if Path(source).expanduser().is_file():
        return Path(source).expanduser()
    if not _HUB_ID.fullmatch(source):
        raise UserError(
            f"no base {source!r}: neither a folder or a checkpoint, nor a hub id like owner/name, "
            f"nor one of the embedded bases ({', '.join(embedded_names())})"
        )
    return _from_hub(source, revision)


def _from_hub(source: str, revision: str | None) -> Path:
    from huggingface_hub import constants, is_offline_mode, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["model_index.json", "scheduler/*", "tokenizer/*", "tokenizer_2/*"]
    patterns += [
        f"{part}/{file}"
        for part in ("text_encoder", "text_encoder_2", "vae", "unet")
        for file in ("config.json", "*.safetensors", "*.safetensors.index.json")
    ]
    patterns_not = ["*.fp16.safetensors", "*non_ema*"]
    options: dict[str, Any] = {
        "revision": revision,
        "allow_patterns": patterns,
        "ignore_patterns": patterns_not,
    }
    try:
        return Path(snapshot_download(source, local_files_only=True, **options))
    except LocalEntryNotFoundError:
        pass
    missing = f"base {source!r}: no such folder here, not in the hub's cache, "
    if is_offline_mode() or not _reachable(constants.ENDPOINT):
        raise UserError(missing + "and the hub cannot be reached; give a local diffusers folder")
    try:
        return Path(snapshot_download(source, **options))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{missing}and the hub refused it: {first}") from error


_PATIENCE = 2.0
"""Seconds that the hub has to answer."""


def _reachable(url: str) -> bool:
    """Whether its host answers, decided in time even when name look-up hangs."""
    place = urlsplit(url)
    port = place.port or (80 if place.scheme == "http" else 443)
    answered = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((place.hostname, port), timeout=_PATIENCE).close()
        except OSError:
            return
        answered.set()

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return answered.is_set()
