"""Step 1: draw every picture that is not there yet; each is published whole, so a kill costs one.

RUN/evaluation/pictures/KEY.png; the key is a hash of model, prompt, seed and sampler.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image

from textreg.checkpoint import publish
from textreg.evaluate.shots import ModelName, Shot
from textreg.evaluate.store import digest
from textreg.png_file import publish_png
from textreg.sampling import PictureModel, Sampler, sample

VERSION = 1
"""Raise when the same shot becomes another picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How pictures are drawn, the same for every model."""

    steps: int
    guidance: float
    sampler: Sampler = "ddim"
    batch_size: int = 8


def picture_key(shot: Shot, model_key: str, how: Sampling) -> str:
    """The picture's name: whatever has the same name is the same picture."""
    return digest(
        "picture", VERSION, model_key, shot.prompt, shot.seed, how.steps, how.guidance, how.sampler
    )


def picture_path(folder: Path, key: str) -> Path:
    """Where a picture lies."""
    return folder / "pictures" / f"{key}.png"


def draw(
    shots: Sequence[tuple[str, Shot]],
    models: Callable[[ModelName], PictureModel],
    how: Sampling,
    folder: Path,
) -> Iterator[Shot]:
    """Draw what is missing.

    Args:
        shots: each with its key.
        models: gives a model; called only for what is missing.
        how: sampler settings.
        folder: RUN/evaluation.

    Yields:
        Each shot, once its picture is on disk.
    """
    missing = [(key, shot) for key, shot in shots if not picture_path(folder, key).is_file()]
    for _, group in groupby(missing, key=lambda item: item[1].model):
        wanted = list(group)
        pictures = sample(
            models(wanted[0][1].model),
            [shot.prompt for _, shot in wanted],
            seeds=[shot.seed for _, shot in wanted],
            **asdict(how),
        )
        for (key, shot), picture in zip(wanted, pictures, strict=True):
            publish_png(picture_path(folder, key), picture.image)
            yield shot


def write_manifest(path: Path, shots: Sequence[tuple[str, Shot]]) -> None:
    """Say which picture is what: one JSON object a line, in the order of the plan."""
    lines = [json.dumps({"picture": f"{key}.png"} | asdict(shot)) + "\n" for key, shot in shots]
    data = "".join(lines).encode()
    if not path.is_file() or path.read_bytes() != data:
        publish(path, data)


def read_drawn(folder: Path, keys: Sequence[str]) -> list[Image.Image]:
    """The pictures of these keys, in order."""
    images: list[Image.Image] = []
    for key in keys:
        with Image.open(picture_path(folder, key)) as image:
            images.append(image.convert("RGB"))
    return images
