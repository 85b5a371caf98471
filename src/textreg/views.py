"""What training sees of a picture and of its mask: the same resize, crop and flip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Where a view lies in its picture."""

    width: int
    """Of the view, in pixels."""
    height: int
    """Of the view, in pixels."""
    center_crop: bool
    """Cut from the middle; `position` is then ignored."""
    position: tuple[float, float] = (0.5, 0.5)
    """(left, top) of the cut, each in 0..1 of the free space; uniform numbers give every
    whole-pixel position the same chance."""
    flip: bool = False
    """Mirror left and right."""

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        if min(self.width, self.height) < 1:
            raise ValueError("a view has at least 1 pixel a side")
        if not all(0 <= position <= 1 for position in self.position):
            raise ValueError(f"position must lie in 0..1, not {self.position}")

    def of(self, image: Image.Image) -> Image.Image:
        """The picture, scaled until it just covers the view, and cut."""
        view = covering(image, self.width, self.height)
        free = (view.width - self.width, view.height - self.height)
        if self.center_crop:
            left, top = (round(space / 2) for space in free)
        else:
            left, top = (
                min(int(position * (space + 1)), space)
                for position, space in zip(self.position, free, strict=True)
            )
        view = view.crop((left, top, left + self.width, top + self.height))
        return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip else view


def covering(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture, scaled (bilinear, antialiased) until it just covers a view of this size.

    What covers already stays as it is, so views cut from the result are those of the original.
    """
    if image.width * height >= image.height * width:
        size = height * image.width // image.height, height
    else:
        size = width, width * image.height // image.width
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def training_view(
    image: Image.Image, cut: Cut, *, brightness: float = 1.0, contrast: float = 1.0
) -> torch.Tensor:
    r"""Returns what training sees of a picture: resized, cropped, flipped, jittered, scaled.

    x = (v clipped to 0..255) / 127.5 - 1, where v is the pixel times `brightness`, then moved from
    the mean grey m of the whole view by `contrast`: v' = m + contrast (v - m). Both on 8-bit
    pixels, in this order, as torchvision's ColorJitter defines them.

    Args:
        image: Mode RGB, from `read_picture`.
        cut: Where the view lies.
        brightness: Factor, 1 leaves the picture as it is.
        contrast: Factor, 1 leaves the picture as it is.

    Returns:
        float32 in -1..1, shape [3, height, width].

    Raises:
        ValueError: Another mode, or a negative factor.
    """
    if image.mode != "RGB":
        raise ValueError(f"training_view needs an RGB picture, not {image.mode}: use read_picture")
    if brightness < 0 or contrast < 0:
        raise ValueError("brightness and contrast must be at least 0")
    view = cut.of(image)
    if brightness != 1:
        view = ImageEnhance.Brightness(view).enhance(brightness)
    if contrast != 1:
        view = ImageEnhance.Contrast(view).enhance(contrast)
    pixels = np.asarray(view, dtype=np.float32) / 127.5 - 1
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def mask_view(mask: Image.Image, cut: Cut, factor: int) -> torch.Tensor:
    """How much each latent pixel counts: the mean of the mask over the pixels it stands for.

    Args:
        mask: Mode L, of its picture's size; white counts, black does not.
        cut: Where the view lies; its sides are multiples of `factor`.
        factor: Pixels a latent pixel, along a side.

    Returns:
        float32 in 0..1, shape [1, height / factor, width / factor].
    """
    shares = torch.from_numpy(np.asarray(cut.of(mask), dtype=np.float32) / 255)
    return torch.nn.functional.avg_pool2d(shares[None], factor)
