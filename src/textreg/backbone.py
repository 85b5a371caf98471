"""A base model, loaded and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from textreg.base_files import BaseFiles
from textreg.errors import UserError
from textreg.method.denoiser import Denoiser, freeze
from textreg.method.text_projections import TextProjections

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
    files: BaseFiles
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
        source: embedded name, diffusers folder, .safetensors checkpoint, or hub id.
        revision: of a hub id.
        device: "auto" takes a GPU if there is one.
        dtype: precision of the denoiser; "auto": bf16 on a GPU, fp32 on a CPU.

    Raises:
        UserError: no such base, not of a supported family, or a part is missing or unsafe.
    """
    files = BaseFiles.of(source, revision)
    place = torch.device(device if device != "auto" else "cuda" if _has_gpu() else "cpu")
    if place.type == "cuda" and not _has_gpu():
        raise UserError(f"--device {device}: this machine shows no CUDA device; use --device cpu")
    if dtype == "auto":
        dtype = "bf16" if place.type == "cuda" else "fp32"
    wide = torch.float64 if dtype == "fp64" else torch.float32
    unet = files.load("unet", DTYPES[dtype]).to(place)
    vae = files.load("vae", wide).to(place)
    text_encoder = files.load("text_encoder", wide).to(place)
    projections = TextProjections.from_denoiser(unet, wide)
    if projections.features != text_encoder.config.hidden_size:
        raise UserError(
            f"{source}: the text encoder gives {text_encoder.config.hidden_size} features and the "
            f"denoiser reads {projections.features}: these parts do not belong together"
        )
    return Backbone(
        source=source,
        files=files,
        tokenizer=files.tokenizer(),
        text_encoder=freeze(text_encoder),
        vae=freeze(vae),
        denoiser=Denoiser(freeze(unet)),
        projections=projections.to(place),
        scheduler=_scheduler(files),
        device=place,
    )


def fresh_tokenizer(backbone: Backbone) -> Any:
    """A tokenizer of one's own, to add identifiers to."""
    return backbone.files.tokenizer()


def _scheduler(files: BaseFiles) -> Any:
    """A DDIM scheduler over the base's own noise schedule: for training only a_t is read."""
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(files.scheduler())


def _has_gpu() -> bool:
    return torch.cuda.is_available()
