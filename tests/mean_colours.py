"""A made-up extractor: what `evaluate` needs, and nothing to download."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from textreg.evaluate.features import pixel_tensor


class Means:
    """Sees the mean colours of four quarters; reads whether red wins."""

    name, digest, side = "means", "0" * 64, None
    attributes = {"tint": ("red", "other"), "noun": ("cat", "dog")}  # noqa: RUF012

    def __init__(self) -> None:
        self.seen = 0

    def features(self, images: Sequence[Image.Image]) -> Tensor:
        self.seen += len(images)
        pixels = torch.cat([pixel_tensor([image.resize((2, 2))]) for image in images])
        return torch.nn.functional.normalize(pixels.flatten(1) - 0.5, dim=1)

    def read(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        means = torch.cat([pixel_tensor([image.resize((1, 1))]) for image in images]).flatten(1)
        red = torch.stack([means[:, 0], means[:, 1:].mean(1)], 1).softmax(1)
        return {"tint": red, "noun": red}
