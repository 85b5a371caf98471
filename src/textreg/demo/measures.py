"""The demo's numbers: drift by prompt pool, fidelity, edits followed; read by Toyland's judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from textreg.config import Concept
from textreg.evaluate.epsilon_drift import EpsilonDrift
from textreg.evaluate.features import pixel_tensor, square
from textreg.prompts import Pool
from textreg.sampling import PictureModel, sample
from textreg.toyland.attribute_judge import Judge
from textreg.toyland.attributes import HEADS, known_noun

STEPS, GUIDANCE = 20, 4.0

# Held out: no photo shows these scenes, and no training prompt names them or the hat.
EDITS: tuple[tuple[str, str, str], ...] = (
    ("a photo of a {} in the jungle", "scene", "jungle"),
    ("photo of a {} swimming in a pool", "scene", "water"),
    ("a photo of a {} on top of green grass with sunflowers around it", "scene", "sunflowers"),
    ("a photo of a {} wearing a hat", "accessory", "hat"),
)
_NEIGHBOURS = (
    "dog",
    "wolf plushie",
    "bear plushie",
    "monster toy",
    "duck toy",
    "rc car",
    "teapot",
    "chair",
)
_GENERAL = (
    "a red rc car in the city",
    "a photo of a barn in the snow",
    "a pencil sketch of a teapot",
    "an oil painting of a flower",
    "a green boot on the beach",
    "a duck toy in the water",
    "pixel art of a purple chair on a wooden floor",
    "a dog wearing a hat in the desert",
)
_PER_POOL = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """Pictures of one prompt by one model."""

    prompt: str
    pictures: list[Image.Image]


class Measures:
    """Everything that is compared with the base; the base's side is computed once."""

    def __init__(self, base: PictureModel, concept: Concept, photos: Sequence[Image.Image]):
        self._base, self._concept = base, concept
        self._judge = Judge.load()
        self._photos = self._features([_small(photo) for photo in photos])
        class_prompt, own = f"a photo of a {concept.noun}", known_noun(concept.noun)
        pools: dict[Pool, Sequence[str]] = {
            "class": [class_prompt] * _PER_POOL,
            "class_elsewhere": [prompt.replace("{}", concept.noun) for prompt, *_ in EDITS] * 2,
            "neighbour": [f"a photo of a {noun}" for noun in _NEIGHBOURS if noun != own],
            "general": _GENERAL,
            "null": [""] * _PER_POOL,
        }
        self.drift_pools = {
            name: EpsilonDrift(base, prompts, seed=1000) for name, prompts in pools.items()
        }

    def drift(self, model: PictureModel) -> dict[str, float]:
        """Epsilon-drift by pool."""
        return {name: pool.measure(model) for name, pool in self.drift_pools.items()}

    def draw(self, model: PictureModel, prompt: str, count: int) -> Shown:
        """The same seeds for every model, so that pictures can be compared one by one."""
        drawn = sample(
            model,
            [prompt] * count,
            seeds=range(count),
            steps=STEPS,
            guidance=GUIDANCE,
            batch_size=16,
        )
        return Shown(prompt=prompt, pictures=[picture.image for picture in drawn])

    def fidelity(self, pictures: Sequence[Image.Image]) -> float:
        """Mean similarity of pictures to the concept's photos, in the judge's features, 0..1."""
        return float((self._features(pictures) @ self._photos.T).mean().clamp(0, 1))

    def share(self, pictures: Sequence[Image.Image], attribute: str, value: str) -> float:
        """Share of pictures in which the judge reads this value."""
        read = self._judge.read(pixel_tensor(pictures))[attribute].argmax(1)
        return float((read == HEADS[attribute].index(value)).float().mean())

    def _features(self, pictures: Sequence[Image.Image]) -> Tensor:
        return self._judge.features(pixel_tensor(pictures))


def picture_change(ours: Sequence[Image.Image], theirs: Sequence[Image.Image]) -> float:
    """Mean absolute difference of pictures of the same seeds, in 0..1."""
    return float((pixel_tensor(ours) - pixel_tensor(theirs)).abs().mean())


def words_of(concept: Concept, tuned: bool) -> str:
    """What stands in an edit prompt: the concept, or for the base its class."""
    return concept.words if tuned else concept.noun


def _small(photo: Image.Image) -> Image.Image:
    return square(photo).resize((64, 64), Image.Resampling.BOX)
