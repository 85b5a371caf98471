"""What can be in a picture: the world's words, as data, and the drawing of one at random."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from random import Random
from typing import Literal

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (212, 32, 40),
    "orange": (250, 138, 20),
    "yellow": (250, 220, 52),
    "green": (40, 158, 64),
    "blue": (38, 92, 214),
    "purple": (128, 54, 180),
    "pink": (250, 152, 196),
    "brown": (122, 74, 40),
    "white": (246, 246, 244),
    "gray": (124, 128, 134),
}
"""Colour names and their RGB values in 0..255."""

MARKINGS = ("plain", "spotted", "striped")
ACCESSORIES = ("none", "hat", "scarf", "glasses")
STYLES = ("photo", "sketch", "painting", "pixel")

PARTS: dict[str, str] = {
    "backpack": "straps",
    "barn": "door",
    "bear plushie": "blanket",
    "boot": "laces",
    "bowl": "berries",
    "can": "label",
    "candle": "holder",
    "cartoon": "shorts",
    "cat": "ears",
    "chair": "legs",
    "clock": "bells",
    "dog": "ears",
    "duck toy": "beak",
    "flower": "leaves",
    "monster toy": "horns",
    "poop emoji": "cheeks",
    "rc car": "wheels",
    "robot toy": "panel",
    "sloth plushie": "patch",
    "sneaker": "stripe",
    "sunglasses": "lenses",
    "table": "cloth",
    "teapot": "handle",
    "teddy bear": "bow",
    "tortoise plushie": "rim",
    "vase": "band",
    "wolf plushie": "bib",
    "wooden pot": "handles",
}
"""Noun -> the word for its part in the accent colour; the nouns are the Concept Set's."""

NOUNS = tuple(PARTS)


def known_noun(words: str) -> str | None:
    """Return the noun of the world that a class noun ends in ("red cartoon" -> "cartoon")."""
    return next((noun for noun in NOUNS if f" {words}".endswith(f" {noun}")), None)


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
    "kitchen",
    "fabric",
    "autumn",
    "wheat",
)

HEADS: dict[str, tuple[str, ...]] = {
    "noun": NOUNS,
    "colour": tuple(COLOURS),
    "scene": SCENES,
    "accessory": ACCESSORIES,
    "style": STYLES,
    "accent": tuple(COLOURS),
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
    accent: str = "gray"
    """Colour of the part named in PARTS (and tail tip), and of spots and stripes."""
    marking: str = "plain"
    shape: int = 0
    """Seed of the proportions: the same in all pictures of one individual."""
    seed: int = 0
    """Seed of place, tilt, and the scene's layout."""

    def labels(self) -> list[int]:
        """Return the index of each attribute's value, in the order of HEADS."""
        values = asdict(self)
        return [names.index(values[head]) for head, names in HEADS.items()]


def new_composition(picture: Picture) -> bool:
    """Say whether no training may see this noun in this colour at this place: a tenth of all."""
    triple = f"{picture.noun}/{picture.colour}/{picture.scene}"
    return zlib.crc32(triple.encode()) % 10 == 0


def new_looks(picture: Picture) -> bool:
    """Say whether these looks are kept for individuals to learn: a tenth of all."""
    looks = f"{picture.noun}/{picture.colour}/{picture.accent}/{picture.marking}"
    return zlib.crc32(looks.encode()) % 10 == 5


def draw_picture(random: Random) -> Picture:
    """Draw a picture's attributes at random, held out or not."""
    noun = random.choice(NOUNS)
    colour, accent = random.sample(tuple(COLOURS), 2)
    # Glasses on sunglasses could not be told apart.
    choices = ACCESSORIES[1:3] if noun == "sunglasses" else ACCESSORIES[1:]
    return Picture(
        noun=noun,
        colour=colour,
        accent=accent,
        scene=random.choice(SCENES),
        accessory="none" if random.random() < 0.55 else random.choice(choices),
        style=random.choices(STYLES, (0.61, 0.13, 0.13, 0.13))[0],
        marking=random.choices(MARKINGS, (0.5, 0.25, 0.25))[0],
        shape=random.getrandbits(31),
        seed=random.getrandbits(31),
    )


Kind = Literal["train", "judge", "evaluate"]
"""train: what the base may see; judge: everything; evaluate: compositions held out of train."""


def numbered_picture(kind: Kind, seed: int) -> Picture:
    """Return the picture with this number of a kind; the kinds share no picture."""
    random = Random(f"{kind}/{seed}")
    while True:
        picture = draw_picture(random)
        if kind == "judge":
            return picture
        if kind == "evaluate" and new_composition(picture):
            return picture
        if kind == "train" and not new_composition(picture) and not new_looks(picture):
            return picture
