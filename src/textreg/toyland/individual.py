"""A new individual of the world: a handful of pictures to learn, and what to call it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from .attributes import COLOURS, INDIVIDUAL, MARKINGS, NOUNS, SCENES, Picture, numbered_picture
from .world import render

if TYPE_CHECKING:
    from pathlib import Path

CONCEPT_SIDE = 512
"""Side of a concept's pictures in pixels."""

CONCEPT_SCENES = ("floor", "beach", "city", "mountain", "snow")

EDIT_PROMPTS = (
    "a photo of a {} in the jungle",
    "a photo of a {} in the desert",
    "a photo of a {} at night",
    "a photo of a {} swimming in a pool",
    "a photo of a {} with sunflowers around it",
    "a photo of a {} wearing a hat",
    "a photo of a {} wearing glasses",
    "a photo of a {} wearing a scarf",
    "a photo of a {} wearing a hat in the jungle",
    "a photo of a {} wearing glasses in the desert",
    "a pencil sketch of a {}",
    "an oil painting of a {}",
)
"""What an evaluation asks of the learned concept; its scenes are not those of its pictures."""


def individual_pictures(seed: int) -> list[Picture]:
    """Return five pictures of one individual; seed 0 is the bundled cat.

    An individual is a noun, three colours and a marking; its poses and places differ.
    """
    random = Random(f"individual/{seed}")
    looks = dict(INDIVIDUAL)
    scenes = CONCEPT_SCENES
    if seed != 0:
        drawn = numbered_picture("judge", random.getrandbits(40))
        looks = {
            "noun": NOUNS[seed % len(NOUNS)],
            "colour": drawn.colour,
            "second": drawn.second,
            "third": drawn.third,
            "marking": random.choice(MARKINGS[1:]),
        }
        scenes = tuple(random.sample(SCENES, len(CONCEPT_SCENES)))
    assert looks["colour"] in COLOURS
    return [Picture(**looks, scene=scene, seed=random.getrandbits(31)) for scene in scenes]


def concept(seed: int, out: Path) -> list[Path]:
    """Write an individual's five pictures and its concept.yaml (`noun`, `prompts`).

    Args:
        seed: which individual; 0 is the cat that is bundled with the repository.
        out: the folder, made if it is missing.

    Returns:
        The pictures' paths.
    """
    import yaml

    out.mkdir(parents=True, exist_ok=True)
    pictures = individual_pictures(seed)
    paths = []
    for number, picture in enumerate(pictures):
        path = out / f"{number:02d}.jpg"
        render(picture, CONCEPT_SIDE).save(path, quality=95)
        paths.append(path)
    text = yaml.safe_dump(
        {"noun": pictures[0].noun, "prompts": list(EDIT_PROMPTS)}, sort_keys=False
    )
    (out / "concept.yaml").write_text(text)
    return paths
