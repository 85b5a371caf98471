"""Individuals of the world: a certain cat, with its colours, marking and proportions."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from .attributes import (
    COLOURS,
    MARKINGS,
    NOUNS,
    SCENES,
    Picture,
    new_looks,
)
from .world import render

if TYPE_CHECKING:
    from pathlib import Path

CONCEPT_SIDE = 512
"""Side of a concept's pictures in pixels."""

CONCEPT_SCENES = ("floor", "beach", "city", "mountain", "snow", "kitchen")
"""Where an individual is photographed; edit prompts ask for other places."""

EDIT_PROMPTS = (
    "a photo of a {} in the jungle",
    "a photo of a {} in the desert",
    "a photo of a {} at night",
    "a photo of a {} floating on top of water",
    "a photo of a {} on top of green grass with sunflowers around it",
    "a photo of a {} with a wheat field in the background",
    "a photo of a {} with a tree and autumn leaves in the background",
    "a photo of a {} on top of pink fabric",
    "a photo of a {} wearing a hat",
    "a photo of a {} wearing a scarf",
    "a photo of a {} wearing glasses",
    "a photo of a {} wearing a hat in the jungle",
    "a photo of a {} wearing a scarf in the desert",
    "a pencil sketch of a {}",
    "an oil painting of a {}",
    "pixel art of a {}",
)
"""What an evaluation asks of a learned object; its scenes are not those of its pictures."""


def individual(
    name: str,
    noun: str | None = None,
    colour: str | None = None,
    num_pictures: int | None = None,
) -> list[Picture]:
    """Return pictures of one individual; the same name is the same individual.

    Its looks (noun, colour, accent and marking together) are held out of the base's training.

    Args:
        name: any text; decides everything that is not given.
        noun: one of NOUNS.
        colour: one of COLOURS.
        num_pictures: at most six; none: four to six.
    """
    random = Random(f"individual/{name}")
    noun = noun or random.choice(NOUNS)
    shape = random.getrandbits(31)
    while True:
        body, accent = random.sample(tuple(COLOURS), 2)
        first = Picture(
            noun=noun,
            colour=colour or body,
            accent=accent,
            marking=random.choice(MARKINGS[1:]),
            scene=SCENES[0],
            shape=shape,
        )
        if first.accent != first.colour and new_looks(first):
            break
    scenes = random.sample(CONCEPT_SCENES, num_pictures or random.randint(4, 6))
    looks = {"noun": noun, "colour": first.colour, "accent": accent, "marking": first.marking}
    return [
        Picture(**looks, scene=scene, shape=shape, seed=random.getrandbits(31)) for scene in scenes
    ]


def write_pictures(pictures: list[Picture], out: Path) -> list[Path]:
    """Write pictures as 00.jpg, 01.jpg ... into a folder, made if it is missing."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, picture in enumerate(pictures):
        path = out / f"{number:02d}.jpg"
        render(picture, CONCEPT_SIDE).save(path, quality=90)
        paths.append(path)
    return paths


def concept(seed: int, out: Path) -> list[Path]:
    """Write an individual's pictures and its concept.yaml (`noun`, `prompts`).

    Args:
        seed: which individual.
        out: the folder, made if it is missing.

    Returns:
        The pictures' paths.
    """
    import yaml

    pictures = individual(str(seed))
    paths = write_pictures(pictures, out)
    about = {"noun": pictures[0].noun, "prompts": list(EDIT_PROMPTS)}
    (out / "concept.yaml").write_text(yaml.safe_dump(about, sort_keys=False))
    return paths
