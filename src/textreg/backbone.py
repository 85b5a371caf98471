"""Load a base model: an embedded one, a diffusers folder, or a hub id; frozen, checked, offline."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from textreg.base_screen import read_json, screen
from textreg.bases import embedded_names, local_folder
from textreg.errors import UserError
from textreg.method.denoiser import Denoiser, freeze
from textreg.method.text_projections import TextProjections

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp64": torch.float64,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """A frozen Stable Diffusion.

    The denoiser is in the run's precision; the text encoder, the VAE and the gathered key and value
    projections are in float32 or wider.
    """

    source: str
    folder: Path
    tokenizer: Any
    text_encoder: Any
    vae: Any
    denoiser: Denoiser
    projections: TextProjections
    scheduler: Any
    device: torch.device

    @property
    def prediction_type(self) -> str:
        """What the denoiser predicts: "epsilon" or "v_prediction"."""
        return self.scheduler.config.prediction_type

    @property
    def alphas_cumprod(self) -> torch.Tensor:
        """a_t of every training timestep."""
        return self.scheduler.alphas_cumprod.to(self.device)

    @property
    def factor(self) -> int:
        """Pixels a latent."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def resolution(self) -> int:
        """The base's own picture side in pixels."""
        return int(self.denoiser.unet.config.sample_size) * self.factor

    @property
    def wide(self) -> torch.dtype:
        """The type of everything that is not the denoiser: float32, or float64."""
        return self.projections.weight.dtype


def load(
    source: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto"
) -> Backbone:
    """Load and freeze a base model.

    Args:
        source: embedded name, folder, or hub id.
        revision: of a hub id.
        device: "auto" takes a GPU if there is one.
        dtype: precision of the denoiser; "auto": bf16 on a GPU, fp32 on a CPU.

    Raises:
        UserError: no such base, not a Stable Diffusion 1.x folder, or a part is missing or unsafe.
    """
    folder = find(source, revision)
    screen(folder)
    place = torch.device(device if device != "auto" else "cuda" if _has_gpu() else "cpu")
    if place.type == "cuda" and not _has_gpu():
        raise UserError(f"--device {device}: this machine shows no CUDA device; use --device cpu")
    if dtype == "auto":
        dtype = "bf16" if place.type == "cuda" else "fp32"
    wide = torch.float64 if dtype == "fp64" else torch.float32
    unet = _part(folder, "unet", DTYPES[dtype]).to(place)
    vae = _part(folder, "vae", wide).to(place)
    text_encoder = _part(folder, "text_encoder", wide).to(place)
    projections = TextProjections.from_denoiser(unet, wide)
    if projections.features != text_encoder.config.hidden_size:
        raise UserError(
            f"{source}: the text encoder gives {text_encoder.config.hidden_size} features and the "
            f"denoiser reads {projections.features}: these parts do not belong together"
        )
    return Backbone(
        source=source,
        folder=folder,
        tokenizer=tokenizer_of(folder),
        text_encoder=freeze(text_encoder),
        vae=freeze(vae),
        denoiser=Denoiser(freeze(unet)),
        projections=projections.to(place),
        scheduler=_scheduler(folder),
        device=place,
    )


def fresh_tokenizer(backbone: Backbone) -> Any:
    """A tokenizer of one's own, to add identifiers to."""
    return tokenizer_of(backbone.folder)


def find(source: str, revision: str | None = None) -> Path:
    """The local folder of a base; a hub id is looked up in the cache, then downloaded.

    Raises:
        UserError: one line that says what was looked for, at once when offline.
    """
    folder = local_folder(source)
    if folder is not None:
        return folder
    if Path(source).expanduser().is_file():
        raise UserError(f"{source}: is a file; --base takes a diffusers folder or a hub id")
    if not _HUB_ID.fullmatch(source):
        raise UserError(
            f"no base {source!r}: neither a folder, nor a hub id like owner/name, nor one of the "
            f"embedded bases ({', '.join(embedded_names())})"
        )
    return _from_hub(source, revision)


def _part(folder: Path, part: str, dtype: torch.dtype) -> Any:
    if part == "text_encoder":
        from transformers import CLIPTextModel as Model
    elif part == "vae":
        from diffusers import AutoencoderKL as Model
    else:
        from diffusers import UNet2DConditionModel as Model
    name = "dtype" if part == "text_encoder" else "torch_dtype"
    options: dict[str, Any] = {name: dtype, "use_safetensors": True, "local_files_only": True}
    try:
        with _without_bars():
            return Model.from_pretrained(folder / part, **options)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{folder / part}: cannot be loaded: {first}") from error


@contextmanager
def _without_bars() -> Generator[None]:
    """The libraries' own progress bars would be drawn over ours; theirs are as before behind it."""
    from diffusers.utils import logging as diffusers_bars
    from transformers.utils import logging as transformers_bars

    shown = [x for x in (diffusers_bars, transformers_bars) if x.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


def tokenizer_of(folder: Path) -> Any:
    """A base folder's tokenizer."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)


def _scheduler(folder: Path) -> Any:
    """A DDIM scheduler over the base's own noise schedule: for training only a_t is read."""
    from diffusers import DDIMScheduler

    config = read_json(folder / "scheduler" / "scheduler_config.json")
    config = {k: v for k, v in config.items() if not k.startswith("_")}
    return DDIMScheduler.from_config(config)


def _from_hub(source: str, revision: str | None) -> Path:
    from huggingface_hub import is_offline_mode, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["model_index.json", "scheduler/*", "tokenizer/*"]
    patterns += [
        f"{part}/{file}"
        for part in ("text_encoder", "vae", "unet")
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
    if is_offline_mode() or not _reachable("huggingface.co"):
        raise UserError(missing + "and the hub cannot be reached; give a local diffusers folder")
    try:
        return Path(snapshot_download(source, **options))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{missing}and the hub refused it: {first}") from error


def _reachable(host: str, seconds: float = 2.0) -> bool:
    """Whether the host answers, decided within the given time even when name look-up hangs."""
    answered = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, 443), timeout=seconds).close()
        except OSError:
            return
        answered.set()

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


def _has_gpu() -> bool:
    return torch.cuda.is_available()
