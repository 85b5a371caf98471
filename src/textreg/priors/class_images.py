"""Class images: the denoising loss on pictures of the class as well (METHOD 9).

Drawn by the base (DreamBooth, CVPR 2023) or from a folder (Custom Diffusion, CVPR 2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from textreg.batch import Batch, noisy_batch
from textreg.class_pictures import adopt, draw, read, source_folder
from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.encoded_views import EncodedViews
from textreg.latents import Latents
from textreg.method.text_projections import TextProjections
from textreg.priors import Prior
from textreg.prompt_pools import PromptPools
from textreg.randomness import Draws


class ClassImages(Prior):
    """L = L_denoise + w MSE(eps_th(x'_t, t', c(class prompt)), noise') on class pictures x'."""

    anywhere = True
    samples = 2

    def __init__(self, run: Run):
        self._run = run
        for concept in run.concepts if run.class_images.folder is not None else ():
            source_folder(run, concept)

    def collect(
        self, texts: Sequence[ConceptTexts], folder: Path, encoded: EncodedViews | None = None
    ) -> Iterator[str]:
        """Draw the pictures, or record the user's; yields a line every few pictures."""
        self._folder, self._encoded = folder, encoded
        for t in texts:
            if self._run.class_images.folder is None:
                yield from draw(self._run, t.concept, t.backbone, folder)
            else:
                adopt(self._run, t.concept, folder)

    def setup(
        self, texts: Sequence[ConceptTexts], vectors: Tensor, projections: TextProjections
    ) -> None:
        """Read the pictures, and encode their prompts."""
        self._backbone = texts[0].backbone
        # There are so many pictures that one view of each will do.
        views = replace(self._run.images, views=1, flip=False, jitter=False, buckets=False)
        self._latents: list[Latents] = []
        pools: list[list[str]] = []
        self._prompts: list[list[int]] = []
        for t in texts:
            images, recorded = read(self._run, t.concept, self._folder)
            key = (self._run.seed, "class images", t.concept.name)
            hashes = [picture.sha256 for picture in recorded]
            self._latents.append(
                Latents(images, self._backbone, views, key, hashes=hashes, encoded=self._encoded)
            )
            prompts = [picture.prompt for picture in recorded]
            distinct = list(dict.fromkeys(prompts))
            pools.append(distinct)
            self._prompts.append([distinct.index(prompt) for prompt in prompts])
        self._pools = PromptPools(texts, pools, vectors, projections.encoder)

    def batches(self, draws: Sequence[Sequence[Draws]], instance: Batch) -> dict[str, Batch]:
        """A class picture, with noise and timestep of its own, for each of the instance's."""
        own = [[d.within("class images") for d in samples] for samples in draws]
        chosen = [
            [which[picture] for picture in latents.choice.pictures(samples)]
            for which, latents, samples in zip(self._prompts, self._latents, own, strict=True)
        ]
        weight = self._run.class_images.weight
        return {
            "class_images": noisy_batch(
                self._latents, own, self._pools.rows(chosen), self._backbone, weight=weight
            )
        }
