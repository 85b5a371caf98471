"""Toyland's judge as a feature extractor of `textreg evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from PIL import Image
from torch import Tensor

from textreg.evaluate.features import pixel_tensor, square
from textreg.evaluate.store import files_digest
from textreg.toyland.attribute_judge import JUDGE_FOLDER, Judge
from textreg.toyland.attributes import HEADS

_SIDE = 64


class JudgeFeatures:
    """Reads the attributes of Toyland's pictures, and compares them.

    It has no text side here: whether an edit was followed is read off the picture, and the judge's
    dual encoder compares texts in a space of its own (`Judge.match_features`).
    """

    name = "judge"
    side = _SIDE
    attributes = HEADS

    def __init__(self) -> None:
        self.digest = files_digest(path for path in JUDGE_FOLDER.iterdir() if path.is_file())

    @cached_property
    def _judge(self) -> Any:
        return Judge.load()

    def features(self, images: Sequence[Image.Image]) -> Tensor:
        """Unit vectors, [n, d]."""
        return self._judge.features(_pixels(images))

    def read(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        """Probabilities of each attribute's values, [n, values]."""
        return self._judge.read(_pixels(images))


def _pixels(images: Sequence[Image.Image]) -> Tensor:
    small = [square(image).resize((_SIDE, _SIDE), Image.Resampling.BOX) for image in images]
    return pixel_tensor(small)
