"""A concept's pictures as latents: augmented views, encoded once and kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from itertools import repeat

import torch
from PIL import Image
from torch import Tensor

from textreg.backbone import Backbone
from textreg.base_shape import check_resolution
from textreg.buckets import bucket
from textreg.concept import Folder
from textreg.config import Concept, Images, Run
from textreg.encoded_views import EncodedViews
from textreg.errors import UserError
from textreg.instance_prompts import PictureChoice
from textreg.masks import unchanged_mask
from textreg.method.host_copy import on_device
from textreg.out_of_memory import memory_of
from textreg.pictures import Picture, read_checked
from textreg.randomness import Draws
from textreg.views import Cut, covering, mask_view, training_view

_BRIGHTNESS, _CONTRAST = 0.2, 0.1


class Latents:
    """What the VAE makes of one concept's views; the latent itself is drawn anew at each step.

    A view (flip, colour jitter, crop) is a function of the seed, the picture and the view's number,
    so a finite set of views is cached without freezing the augmentation to one picture.
    """

    def __init__(
        self,
        pictures: Iterable[Image.Image],
        backbone: Backbone,
        settings: Images,
        key: tuple[int | str, ...],
        *,
        masks: Iterable[Image.Image | None] | None = None,
        repeats: Sequence[int] = (),
        hashes: Sequence[str] = (),
        encoded: EncodedViews | None = None,
    ):
        """Take the pictures one by one; of each only what its views are cut from is kept.

        Args:
            pictures: of mode RGB.
            backbone: whose VAE encodes them.
            settings: of the views.
            key: decides, with picture and view, what is drawn for a view.
            masks: of each picture; none: it counts as a whole.
            repeats: of each picture; empty: all alike.
            hashes: of each picture's bytes, to know its views again in `encoded`.
            encoded: where views of a finite set outlive this process.
        """
        self._hashes, self._encoded = hashes, encoded
        self._backbone, self._settings, self._key = backbone, settings, key
        self._resolution = settings.resolution or backbone.resolution
        check_resolution(self._resolution, backbone.factor)
        self._pictures: list[Image.Image] = []
        self._masks: list[Image.Image | None] = []
        shapes: list[tuple[int, int]] = []
        for picture, mask in zip(pictures, repeat(None) if masks is None else masks, strict=False):
            shape = self._shape(picture)
            shapes.append(shape)
            self._pictures.append(covering(picture, *shape))
            self._masks.append(None if mask is None else covering(mask, *shape))
        self.choice = PictureChoice(shapes, repeats)
        self._spreads: dict[tuple[int, int], Tensor] = {}
        self._shares: dict[tuple[int, int], Tensor] = {}

    def _shape(self, picture: Image.Image) -> tuple[int, int]:
        """Width and height of a picture's views."""
        if not self._settings.buckets:
            return self._resolution, self._resolution
        return bucket(*picture.size, self._resolution, self._backbone.factor * 8)

    def samples(self, draws: Sequence[Draws]) -> list[tuple[Tensor, Tensor | None]]:
        """The samples of one micro-batch, all of one shape.

        Returns:
            A latent x_0 [channels, height, width] of a random picture and view, and how much each
            of its pixels counts, [1, height, width] in 0..1; none: all alike.
        """
        pictures = self.choice.pictures(draws)
        return [
            (self._latent(picture, d), self._counts(picture, d))
            for picture, d in zip(pictures, draws, strict=True)
        ]

    def _latent(self, picture: int, draws: Draws) -> Tensor:
        views = self._settings.views
        if views is None:
            spread = _spread(self._encode(picture, draws))
        else:
            spread = self._view(picture, draws.index("view", views))
        mean, deviation = spread.chunk(2)
        noise = on_device(draws.normal("posterior", tuple(mean.shape)), mean.device, mean.dtype)
        return (mean + deviation * noise) * self._backbone.vae.config.scaling_factor

    def _view(self, picture: int, view: int) -> Tensor:
        if (picture, view) not in self._spreads:
            moments = self._kept(picture, *self._of_view(picture, view))
            self._spreads[picture, view] = _spread(moments)
        return self._spreads[picture, view]

    def _kept(self, picture: int, draws: Draws, flip: bool) -> Tensor:
        """Moments of a view of the finite set, encoded if they are not kept from before."""
        if self._encoded is None:
            return self._encode(picture, draws, flip)
        vae, factor = self._backbone.vae, self._backbone.factor
        look = self._cut(picture, draws, flip), *self._jitter(draws), vae.dtype
        key = hashlib.sha256(repr((self._hashes[picture], *look)).encode()).hexdigest()
        width, height = (side // factor for side in self.choice.shapes[picture])
        shape = 2 * vae.config.latent_channels, height, width
        if (found := self._encoded.read(key, shape, vae.dtype)) is None:
            start = time.perf_counter()
            found = self._encode(picture, draws, flip)
            self._encoded.keep(key, found, time.perf_counter() - start)
        return found.to(vae.device)

    def _of_view(self, picture: int, view: int) -> tuple[Draws, bool]:
        """The random numbers of a kept view, and whether it is the mirrored one."""
        return Draws(*self._key, "view", picture, view), view % 2 == 1

    def _counts(self, picture: int, draws: Draws) -> Tensor | None:
        """How much each latent pixel of the same view counts."""
        mask = self._masks[picture]
        if mask is None:
            return None
        views, factor = self._settings.views, self._backbone.factor
        if views is None:
            return mask_view(mask, self._cut(picture, draws, None), factor)
        key = picture, draws.index("view", views)
        if key not in self._shares:
            self._shares[key] = mask_view(mask, self._cut(picture, *self._of_view(*key)), factor)
        return self._shares[key]

    def _cut(self, picture: int, draws: Draws, flip: bool | None) -> Cut:
        settings = self._settings
        if flip is None:
            flip = draws.uniform("flip") < 0.5
        width, height = self.choice.shapes[picture]
        return Cut(
            width=width,
            height=height,
            center_crop=settings.center_crop,
            position=(draws.uniform("crop x"), draws.uniform("crop y")),
            flip=flip and settings.flip,
        )

    def _jitter(self, draws: Draws) -> tuple[float, float]:
        """Factors of brightness and contrast."""
        if not self._settings.jitter:
            return 1.0, 1.0
        brightness, contrast = (2 * draws.uniform(name) - 1 for name in ("brightness", "contrast"))
        return 1 + _BRIGHTNESS * brightness, 1 + _CONTRAST * contrast

    @memory_of("encoding the pictures", "a lower --resolution")
    @torch.no_grad()
    def _encode(self, picture: int, draws: Draws, flip: bool | None = None) -> Tensor:
        """Moments (mean and log variance, [2 channels, height, width]) of one view.

        Raises:
            UserError: the VAE gives numbers that are not finite for this picture, which is kept.
        """
        cut, (brightness, contrast) = self._cut(picture, draws, flip), self._jitter(draws)
        image = self._pictures[picture]
        view = training_view(image, cut, brightness=brightness, contrast=contrast)
        vae = self._backbone.vae
        moments = vae.encode(on_device(view[None], vae.device, vae.dtype)).latent_dist.parameters[0]
        moments = moments.contiguous()  # as it comes back from a file
        # Where each step has a view of its own, nothing waits for it: quarantine judges the loss.
        kept = self._settings.views is not None
        if kept and not bool(moments.isfinite().all()):
            raise UserError(f"picture {picture} of {self._key[-1]}: the VAE cannot encode it")
        return moments


def _spread(moments: Tensor) -> Tensor:
    """Mean and deviation of moments, in their place: each step draws from it."""
    mean, log_variance = moments.chunk(2)
    return torch.cat([mean, (0.5 * log_variance.clamp(-30, 20)).exp()])


def latents_of(
    run: Run,
    concept: Concept,
    folder: Folder,
    backbone: Backbone,
    encoded: EncodedViews | None = None,
) -> Latents:
    """A concept's training pictures; `encoded`: as in `Latents`.

    Raises:
        UserError: one of them has changed since it was checked.
    """
    return Latents(
        (_unchanged(picture) for picture in folder.pictures),
        backbone,
        run.images,
        (run.seed, concept.name),
        masks=(
            a.mask and unchanged_mask(a.mask, p)
            for a, p in zip(folder.annotations, folder.pictures, strict=True)
        ),
        repeats=[a.repeats for a in folder.annotations],
        hashes=[picture.sha256 for picture in folder.pictures],
        encoded=encoded,
    )


def _unchanged(picture: Picture) -> Image.Image:
    """Read a picture that was checked before; it must be the same file still."""
    now, image = read_checked(picture.path)
    if now.sha256 != picture.sha256:
        raise UserError(f"{picture.path}: changed while it was being read; start again")
    return image
