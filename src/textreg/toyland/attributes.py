"""What can be in a picture: the world's words, as data, and the drawing of one at random."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Literal

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (212, 36, 40),
    "orange": (247, 136, 24),
    "yellow": (250, 217, 52),
    "green": (46, 160, 67),
    "blue": (42, 98, 214),
    "purple": (132, 58, 178),
    "white": (246, 246, 244),
    "gray": (122, 126, 132),
}
"""Colour names and their RGB values in 0..255."""

MARKINGS = ("plain", "spotted", "striped")
ACCESSORIES = ("none", "hat", "scarf", "glasses")
STYLES = ("photo", "sketch", "painting")

PARTS: dict[str, tuple[str, str]] = {
    "cat": ("belly", "ears"),
    "dog": ("belly", "ears"),
    "duck": ("wing", "beak"),
    "teapot": ("lid", "handle"),
    "chair": ("cushion", "legs"),
    "clock": ("face", "bells"),
    "boot": ("sole", "laces"),
    "vase": ("rim", "band"),
    "backpack": ("pocket", "straps"),
    "flower": ("center", "leaves"),
    "car": ("roof", "wheels"),
    "house": ("roof", "door"),
}
"""Noun -> the words for its parts in the second and in the third colour."""

NOUNS = tuple(PARTS)
ANIMALS = ("cat", "dog", "duck")

SCENES = (
    "jungle",
    "snow",
    "beach",
    "city",
    "night",
    "desert",
    "floor",
    "water",
    "mountain",
    "sunflowers",
)

HEADS: dict[str, tuple[str, ...]] = {
    "noun": NOUNS,
    "colour": tuple(COLOURS),
    "scene": SCENES,
    "accessory": ACCESSORIES,
    "style": STYLES,
    "second": tuple(COLOURS),
    "third": tuple(COLOURS),
    "marking": MARKINGS,
}
"""Every attribute and its values, in the order that labels and classifier heads use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """All that decides a picture's pixels, save its size."""

    noun: str
    colour: str
    scene: str
    accessory: str = "none"
    style: str = "photo"
    second: str = "white"
    """Colour of the first part in PARTS (and muzzle, paws)."""
    third: str = "gray"
    """Colour of the second part in PARTS (and tail tip), and of spots and stripes."""
    marking: str = "plain"
    seed: int = 0
    """Decides pose, proportions, place, and the scene's layout."""

    def labels(self) -> list[int]:
        """Return the index of each attribute's value, in the order of HEADS."""
        values = asdict(self)
        return [names.index(values[head]) for head, names in HEADS.items()]


INDIVIDUAL: dict[str, Any] = {
    "noun": "cat",
    "colour": "orange",
    "second": "white",
    "third": "blue",
    "marking": "striped",
}
"""The bundled concept cat; no cat with its body and ear colours is ever trained on."""


def held_out(picture: Picture) -> bool:
    """Say whether no training may see this picture.

    A tenth of all (noun, colour, scene) triples is kept for evaluation, and so are all cats with
    the body and ear colours of the bundled individual.
    """
    triple = f"{picture.noun}/{picture.colour}/{picture.scene}"
    if zlib.crc32(triple.encode()) % 10 == 0:
        return True
    return all(getattr(picture, key) == INDIVIDUAL[key] for key in ("noun", "colour", "third"))


def draw_picture(random: Random) -> Picture:
    """Draw a picture's attributes at random, held out or not."""
    noun = random.choice(NOUNS)
    colour, second, third = random.sample(tuple(COLOURS), 3)
    bare = 0.4 if noun in ANIMALS else 0.55
    accessory = "none" if random.random() < bare else random.choice(ACCESSORIES[1:])
    return Picture(
        noun=noun,
        colour=colour,
        scene=random.choice(SCENES),
        accessory=accessory,
        style=random.choices(STYLES, (0.64, 0.18, 0.18))[0],
        second="white"
        if colour != "white" and third != "white" and random.random() < 0.3
        else second,
        third=third,
        marking=random.choices(MARKINGS, (0.5, 0.25, 0.25))[0],
        seed=random.getrandbits(31),
    )


Kind = Literal["train", "judge", "evaluate"]
"""train: what the base may see; judge: everything; evaluate: only what is held out."""


def numbered_picture(kind: Kind, seed: int) -> Picture:
    """Return the picture with this number of a kind; the kinds share no picture."""
    random = Random(f"{kind}/{seed}")
    while True:
        picture = draw_picture(random)
        if kind == "judge" or held_out(picture) == (kind == "evaluate"):
            return picture
