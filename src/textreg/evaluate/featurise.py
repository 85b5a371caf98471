"""Step 2: pictures and prompts to features, kept by extractor and content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from textreg.evaluate.features import AttributeReader, Extractor, TextSide, pixel_tensor
from textreg.evaluate.generate import read_drawn
from textreg.evaluate.store import digest, kept_json, kept_tensors

VERSION = 1
"""Raise when the same pictures get other features from the same extractor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What an extractor sees in a set of pictures."""

    features: Tensor
    """Unit vectors, [n, d] float64."""
    attributes: dict[str, Tensor]
    """Probabilities of each attribute's values, [n, values]; empty if it reads none."""


def read_pictures(
    extractor: Extractor,
    names: Sequence[str],
    pictures: Callable[[], Sequence[Image.Image]],
    folder: Path,
) -> Read:
    """Features, and attributes where the extractor reads them.

    Args:
        extractor: asked only if nothing is kept.
        names: what identifies each picture: its key, or the hash of its file.
        pictures: opens them.
        folder: RUN/evaluation.
    """

    def make() -> dict[str, Tensor]:
        images = list(pictures())
        found = {"features": extractor.features(images)}
        if isinstance(extractor, AttributeReader):
            found |= {f"read.{name}": p for name, p in extractor.read(images).items()}
        return found

    key = digest("features", VERSION, extractor.name, extractor.digest, list(names))
    kept = kept_tensors(folder / "features" / f"{key}.safetensors", make)
    return Read(
        features=kept["features"].double(),
        attributes={
            name.removeprefix("read."): tensor
            for name, tensor in kept.items()
            if name.startswith("read.")
        },
    )


def read_prompts(extractor: Extractor, prompts: Sequence[str], folder: Path) -> Tensor | None:
    """Text features of prompts, [n, d] float64; none if the extractor has no text side."""
    if not isinstance(extractor, TextSide):
        return None
    side = extractor
    key = digest("text", VERSION, extractor.name, extractor.digest, list(prompts))
    path = folder / "features" / f"{key}.safetensors"
    return kept_tensors(path, lambda: {"features": side.text_features(prompts)})[
        "features"
    ].double()


def picture_change(base: Sequence[str], tuned: Sequence[str], folder: Path) -> list[float]:
    """Mean absolute difference in 0..1 of each pair of pictures of the same prompt and seed."""

    def make() -> list[float]:
        pairs = zip(read_drawn(folder, base), read_drawn(folder, tuned), strict=True)
        return [float((pixel_tensor([a]) - pixel_tensor([b])).abs().mean()) for a, b in pairs]

    key = digest("change", VERSION, list(base), list(tuned))
    return kept_json(folder / "features" / f"change-{key}.json", make)
