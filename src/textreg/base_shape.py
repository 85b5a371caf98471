"""What a base looks like, read off its configs: names and shapes without a single weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from textreg.adapter import Adapter
from textreg.adapter.legacy_file import named
from textreg.base_files import BaseFiles
from textreg.errors import UserError
from textreg.method.attention_edit import placed, placement_of
from textreg.method.encoder_edit import ENCODERS, text_names
from textreg.method.text_projections import TextProjections


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseShape:
    """A base's projections and sizes."""

    files: BaseFiles
    projections: TextProjections
    """Names and widths; the weights hold no memory."""
    text_layers: int
    resolution: int
    prediction_type: str

    @classmethod
    def of(cls, source: str, revision: str | None = None) -> BaseShape:
        """Read a base's configs.

        Raises:
            UserError: no such base, or not of a supported family.
        """
        from diffusers import UNet2DConditionModel

        files = BaseFiles.of(source, revision)
        with torch.device("meta"):
            denoiser: Any = UNet2DConditionModel.from_config(files.config("unet"))
            projections = TextProjections.from_denoiser(denoiser, encoders=_encoder_sizes(files))
        return cls(
            files=files,
            projections=projections,
            text_layers=files.config("text_encoder")["num_hidden_layers"],
            resolution=files.resolution,
            prediction_type=files.scheduler().get("prediction_type", "epsilon"),
        )


def _encoder_sizes(files: BaseFiles) -> list[tuple[int, int]]:
    configs = [files.config(part) for part in ENCODERS if part in files.parts]
    return [(config["num_hidden_layers"], config["hidden_size"]) for config in configs]


def fitted(
    adapter: Adapter, projections: TextProjections, source: str
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """An adapter's factors by the names of a base's projections, keys and values of text first.

    Raises:
        UserError: the adapter belongs to another base; names what differs.
    """
    width = projections.features
    if adapter.width != width:
        raise UserError(
            f"this adapter's word has {adapter.width} numbers, the base {source} reads "
            f"{width}: it belongs to another base"
        )
    factors = named(adapter, projections.names)
    shapes = {name: (len(up), down.shape[1]) for name, (down, up) in factors.items()}
    every = {
        name: (w, width) for name, w in zip(projections.names, projections.widths, strict=True)
    } | projections.elsewhere
    wanted = {name: every[name] for name in placed(every, placement_of(factors))}
    if text_names(factors):
        wanted |= projections.encoders
    if shapes != wanted:
        odd = sorted(shapes.items() ^ wanted.items())[0][0]
        raise UserError(f"this adapter does not fit the base {source} at {odd}")
    return {name: factors[name] for name in wanted}


def check_resolution(side: int, factor: int) -> None:
    """Refuse a picture side that the base's layers cannot halve down to whole pixels.

    Args:
        side: in pixels.
        factor: pixels a latent.

    Raises:
        UserError: names the number that it must be a multiple of.
    """
    if side < 1 or side % (factor * 8):
        raise UserError(f"--resolution {side}: this base needs a multiple of {factor * 8}")


def check_steps(steps: int, most: int, named: str = "--steps") -> None:
    """Refuse more denoising steps than the base has timesteps.

    Args:
        steps: denoising steps.
        most: the base's timesteps.
        named: where the steps were given.

    Raises:
        UserError: names the most.
    """
    if steps > most:
        raise UserError(f"{named} is {steps}; this base has {most} at most")
