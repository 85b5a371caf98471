"""A concept's pictures as latents: augmented views, encoded once and kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from textreg.backbone import Backbone
from textreg.concept import Folder, training_view
from textreg.config import Concept, Images, Run
from textreg.errors import UserError
from textreg.pictures import Picture, read_checked
from textreg.randomness import Draws

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
    ):
        self._pictures, self._backbone = pictures, backbone
        self._settings, self._key = settings, key
        self._resolution = settings.resolution or backbone.resolution
        if self._resolution % (backbone.factor * 8):
            raise UserError(
                f"--resolution {self._resolution}: this base needs a multiple of "
                f"{backbone.factor * 8}"
            )
        self._moments: dict[tuple[int, int], Tensor] = {}

    def picture(self, draws: Draws) -> int:
        """Which picture `sample` takes for these draws."""
        return draws.index("picture", len(self._pictures))

    def sample(self, draws: Draws) -> Tensor:
        """A latent x_0 [channels, height, width] of a random picture and view."""
        picture = self.picture(draws)
        views = self._settings.views
        if views is None:
            moments = self._encode(picture, draws)
        else:
            moments = self._view(picture, draws.index("view", views))
        mean, log_variance = moments.chunk(2)
        deviation = (0.5 * log_variance.clamp(-30, 20)).exp()
        noise = draws.normal("posterior", tuple(mean.shape)).to(mean)
        return (mean + deviation * noise) * self._backbone.vae.config.scaling_factor

    def _view(self, picture: int, view: int) -> Tensor:
        if (picture, view) not in self._moments:
            draws = Draws(*self._key, "view", picture, view)
            self._moments[picture, view] = self._encode(picture, draws, view % 2 == 1)
        return self._moments[picture, view]

    @torch.no_grad()
    def _encode(self, picture: int, draws: Draws, flip: bool | None = None) -> Tensor:
        """Moments (mean and log variance, [2 channels, height, width]) of one view.

        Raises:
            UserError: the VAE gives numbers that are not finite for this picture.
        """
        settings = self._settings
        if flip is None:
            flip = draws.uniform("flip") < 0.5
        jitter = [2 * draws.uniform(name) - 1 for name in ("brightness", "contrast")]
        amount = (_BRIGHTNESS, _CONTRAST) if settings.jitter else (0.0, 0.0)
        view = training_view(
            self._pictures[picture],
            resolution=self._resolution,
            center_crop=settings.center_crop,
            flip=flip and settings.flip,
            brightness=1 + amount[0] * jitter[0],
            contrast=1 + amount[1] * jitter[1],
            crop_position=(draws.uniform("crop x"), draws.uniform("crop y")),
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
    return Latents(images, backbone, run.images, (run.seed, concept.name))


def _unchanged(picture: Picture) -> Image.Image:
    """Read a picture that was checked before; it must be the same file still."""
    now, image = read_checked(picture.path)
    if now.sha256 != picture.sha256:
        raise UserError(f"{picture.path}: changed while it was being read; start again")
    return image
