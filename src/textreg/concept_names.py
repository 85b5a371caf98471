"""From a folder's name to the class noun of the thing in it."""

from __future__ import annotations

import re

# The Concept Set: 30 folders of DreamBooth, 9 of Custom Diffusion. Each has the most specific noun
# a base model knows, as the class prompt "photo of a <noun>" is built from it.
_CONCEPT_SET = {
    "backpack": "backpack",
    "backpack_dog": "backpack",
    "barn": "barn",
    "bear_plushie": "bear plushie",
    "berry_bowl": "bowl",
    "can": "can",
    "candle": "candle",
    "cat": "cat",
    "chair": "chair",
    "clock": "clock",
    "colorful_sneaker": "sneaker",
    "dog": "dog",
    "duck_toy": "duck toy",
    "fancy_boot": "boot",
    "flower": "flower",
    "grey_sloth_plushie": "sloth plushie",
    "monster_toy": "monster toy",
    "pink_sunglasses": "sunglasses",
    "poop_emoji": "poop emoji",
    "rc_car": "rc car",
    "red_cartoon": "red cartoon",
    "robot_toy": "robot toy",
    "shiny_sneaker": "sneaker",
    "table": "table",
    "teapot": "teapot",
    "teddybear": "teddy bear",
    "tortoise_plushy": "tortoise plushie",
    "vase": "vase",
    "wolf_plushie": "wolf plushie",
    "wooden_pot": "wooden pot",
}
_NOUNS = {name.replace("_", ""): noun for name, noun in _CONCEPT_SET.items()} | {
    name.replace("_", "").replace("plushie", "plushy"): noun for name, noun in _CONCEPT_SET.items()
}
_NO_NOUNS = frozenset(
    (
        "data",
        "image",
        "images",
        "img",
        "imgs",
        "picture",
        "pictures",
        "photo",
        "photos",
        "pics",
        "train",
        "training",
        "instance",
        "dataset",
        "datasets",
        "input",
        "inputs",
        "new",
        "folder",
        "untitled",
        "tmp",
        "temp",
        "test",
        "my",
        "concept",
        "concepts",
    )
)


def concept_noun(folder_name: str) -> str | None:
    """Guesses the class noun of a concept from its folder's name.

    The names of the Concept Set map to their nouns, in any spelling ("backpack_dog", "Backpack-Dog
    2" -> "backpack"). Any other name is taken at its word if it is one or a few plain lower-case
    words ("garden_gnome3" -> "garden gnome").

    Args:
        folder_name: The last part of the folder's path.

    Returns:
        The noun, or None where the name says nothing ("IMG_2931", "photos"): the user must name it
        with --noun.
    """
    bare = re.sub(r"[ _-]*[0-9]+$", "", folder_name)
    known = _NOUNS.get(re.sub(r"[ _-]+", "", bare).lower())
    if known:
        return known
    words = re.split(r"[ _-]+", bare)
    if not all(re.fullmatch(r"[a-z]+", word) for word in words) or set(words) & _NO_NOUNS:
        return None
    return " ".join(words)
