"""What tests of the families share: a short run, an adapter of random numbers, plain diffusers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.concept_texts import ConceptTexts
from textreg.config import Concept, Images, Run
from textreg.sampling import PictureModel
from tiny_run import tiny_run

Loaded = Callable[[str], Backbone]


def family_run(base: Path, out: Path, pictures: Path, **changes: Any) -> Run:
    """A few steps on views of 32 pixels: these bases halve a latent up to three times."""
    return tiny_run(base, out, pictures, **({"images": Images(resolution=32, views=2)} | changes))


def model_of(backbone: Backbone) -> tuple[ConceptTexts, list[Tensor]]:
    """A concept's texts, and two words for its identifier."""
    texts = ConceptTexts.of(Concept(images=Path(), noun="cat", identifier="<krk1>"), backbone)
    random = torch.Generator().manual_seed(3)
    shape = (2, backbone.projections.features)
    return texts, list(torch.randn(shape, generator=random, dtype=torch.float64))


def random_adapter(backbone: Backbone, *, size: float, rank: int = 2) -> Adapter:
    """An edit of normal numbers times a size."""
    random = torch.Generator().manual_seed(4)
    width = backbone.projections.features

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    return Adapter(
        identifier="<krk1>",
        noun="cat",
        learnable_property="object",
        vector=draw(width),
        factors={
            name: (draw(rank, width), size * draw(out, rank))
            for name, out in zip(
                backbone.projections.names, backbone.projections.widths, strict=True
            )
        },
        alpha=float(rank),
    )


def moved(model: PictureModel, base: PictureModel, x_t: Tensor, t: Tensor, prompt: str) -> float:
    """How far a model's prediction is from the base's without the word, relative."""
    given = model.predict(x_t, t, model.keys_values([prompt]))
    plain = base.predict(x_t, t, base.keys_values([prompt.replace("<krk1> ", "")]))
    return float((given - plain).norm() / plain.norm())


def plain_pipeline(base: Path, dtype: torch.dtype = torch.float32) -> Any:
    """diffusers' own."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(base, local_files_only=True, dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe
