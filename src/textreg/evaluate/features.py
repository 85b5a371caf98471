"""Feature extractors: what turns pictures into vectors that can be compared; three protocols.

An extractor is whatever has these members; nothing is inherited. It is asked for features only
where none are kept from before, so a model is best loaded at the first call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from textreg.errors import UserError
from textreg.evaluate.questions import Edit


class Extractor(Protocol):
    """Pictures to feature vectors."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    @property
    def digest(self) -> str:
        """sha256 of the weights and of every file that decides how a picture is read."""
        ...

    @property
    def side(self) -> int | None:
        """Side in pixels of the only pictures it can read; none: any."""
        ...

    def features(self, images: Sequence[Image.Image]) -> Tensor:
        """Unit vectors, [n, d]."""
        ...


@runtime_checkable
class TextSide(Protocol):
    """An extractor that places prompts and pictures in one space."""

    def text_features(self, prompts: Sequence[str]) -> Tensor:
        """Unit vectors, [n, d]."""
        ...


@runtime_checkable
class AttributeReader(Protocol):
    """An extractor that reads attributes off pictures."""

    @property
    def attributes(self) -> Mapping[str, Sequence[str]]:
        """The values of each attribute."""
        ...

    def read(self, images: Sequence[Image.Image]) -> Mapping[str, Tensor]:
        """Probabilities of each attribute's values, [n, values]."""
        ...


def refuse_none_or_twice(extractors: Sequence[Extractor]) -> None:
    """Refuse no extractor at all, and two of one name, whose numbers would lie in one place.

    Raises:
        UserError: names it.
    """
    if not extractors:
        raise UserError("no --features: nothing could look at the pictures")
    names = [extractor.name for extractor in extractors]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--features {twice[0]} is given twice; one of a kind at a time")


def refuse_unfit(extractor: Extractor, side: int, edits: Sequence[Edit]) -> None:
    """Refuse an extractor that cannot see what it is asked.

    Args:
        extractor: as the user named it.
        side: of the base's pictures, in pixels.
        edits: what they ask for must be among what it reads, if it reads attributes.

    Raises:
        UserError: another side, or an unknown attribute or value.
    """
    what = f"--features {extractor.name}"
    if extractor.side not in (None, side):
        raise UserError(
            f"{what}: reads pictures of {extractor.side} pixels, and this base draws {side}; use "
            "clip:FOLDER or dinov2:FOLDER"
        )
    known = extractor.attributes if isinstance(extractor, AttributeReader) else None
    for edit in edits if known is not None else ():
        for name, value in edit.shows.items():
            assert known is not None
            if value not in known.get(name, ()):
                raise UserError(
                    f"{what}: cannot read {name}: {value}, which the edit {edit.prompt!r} asks "
                    f"for; it knows {', '.join(known.get(name, known))}"
                )


def square(image: Image.Image) -> Image.Image:
    """The middle square of a picture, as training crops it."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def pixel_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Equally large pictures as float32 in 0..1, [n, 3, height, width]."""
    arrays: list[Any] = [np.asarray(image.convert("RGB")) for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255
