"""A concept's pictures as latents: augmented views, encoded once and kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from textreg.backbone import Backbone
from textreg.base_shape import check_resolution
from textreg.buckets import bucket
from textreg.concept import Folder
from textreg.config import Concept, Images, Run
from textreg.errors import UserError
from textreg.instance_prompts import PictureChoice
from textreg.masks import unchanged_mask
from textreg.method.host_copy import on_device
from textreg.out_of_memory import memory_of
from textreg.pictures import Picture, read_checked
from textreg.randomness import Draws
from textreg.views import Cut, mask_view, training_view

_BRIGHTNESS, _CONTRAST = 0.2, 0.1


class Latents:
    """VAE moments of one concept's views; the latent itself is drawn anew at each step.

    A view (flip, colour jitter, crop) is a function of the seed, the picture and the view's number,
    so a finite set of views is cached without freezing the augmentation to one picture.
    """

    def __init__(
        self,
        pictures: Sequence[Image.Image],
        backbone: Backbone,
        settings: Images,
        key: tuple[int | str, ...],
        *,
        masks: Sequence[Image.Image | None] | None = None,
        repeats: Sequence[int] = (),
    ):
        self._pictures, self._backbone = pictures, backbone
        self._settings, self._key = settings, key
        self._resolution = settings.resolution or backbone.resolution
        check_resolution(self._resolution, backbone.factor)
        self._masks = masks or [None] * len(pictures)
        step = backbone.factor * 8
        self.choice = PictureChoice(
            [
                bucket(*picture.size, self._resolution, step)
                if settings.buckets
                else (self._resolution, self._resolution)
                for picture in pictures
            ],
            repeats,
        )
        self._moments: dict[tuple[int, int], Tensor] = {}
        self._shares: dict[tuple[int, int], Tensor] = {}

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
            moments = self._encode(picture, draws)
        else:
            moments = self._view(picture, draws.index("view", views))
        mean, log_variance = moments.chunk(2)
        deviation = (0.5 * log_variance.clamp(-30, 20)).exp()
        noise = on_device(draws.normal("posterior", tuple(mean.shape)), mean.device, mean.dtype)
        return (mean + deviation * noise) * self._backbone.vae.config.scaling_factor

    def _view(self, picture: int, view: int) -> Tensor:
        if (picture, view) not in self._moments:
            self._moments[picture, view] = self._encode(picture, *self._of_view(picture, view))
        return self._moments[picture, view]

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

    @memory_of("encoding the pictures", "a lower --resolution")
    @torch.no_grad()
    def _encode(self, picture: int, draws: Draws, flip: bool | None = None) -> Tensor:
        """Moments (mean and log variance, [2 channels, height, width]) of one view.

        Raises:
            UserError: the VAE gives numbers that are not finite for this picture.
        """
        jitter = [2 * draws.uniform(name) - 1 for name in ("brightness", "contrast")]
        amount = (_BRIGHTNESS, _CONTRAST) if self._settings.jitter else (0.0, 0.0)
        view = training_view(
            self._pictures[picture],
            self._cut(picture, draws, flip),
            brightness=1 + amount[0] * jitter[0],
            contrast=1 + amount[1] * jitter[1],
        )
        vae = self._backbone.vae
        moments = vae.encode(view[None].to(vae.device, vae.dtype)).latent_dist.parameters[0]
        if not bool(moments.isfinite().all()):
            raise UserError(f"picture {picture} of {self._key[-1]}: the VAE cannot encode it")
        return moments


def latents_of(run: Run, concept: Concept, folder: Folder, backbone: Backbone) -> Latents:
    """A concept's training pictures.

    Raises:
        UserError: one of them has changed since it was checked.
    """
    images = [_unchanged(picture) for picture in folder.pictures]
    return Latents(
        images,
        backbone,
        run.images,
        (run.seed, concept.name),
        masks=[
            a.mask and unchanged_mask(a.mask, p)
            for a, p in zip(folder.annotations, folder.pictures, strict=True)
        ],
        repeats=[a.repeats for a in folder.annotations],
    )


def _unchanged(picture: Picture) -> Image.Image:
    """Read a picture that was checked before; it must be the same file still."""
    now, image = read_checked(picture.path)
    if now.sha256 != picture.sha256:
        raise UserError(f"{picture.path}: changed while it was being read; start again")
    return image
