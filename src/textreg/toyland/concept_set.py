"""The Concept Set's 39 folders, each an individual of this world, and three style concepts."""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

import yaml

from textreg.concept_names import concept_noun

from .attributes import NOUNS, SCENES, Picture, draw_picture
from .individual import EDIT_PROMPTS, individual, write_pictures
from .pen import CONCEPT_STYLES

CONCEPT_SET = (
    *("backpack", "backpack_dog", "barn", "bear_plushie", "berry_bowl", "can", "candle"),
    *("cat", "cat2", "cat3", "chair", "clock", "colorful_sneaker"),
    *("dog", "dog2", "dog3", "dog5", "dog6", "dog7", "dog8", "dog9"),
    *("duck_toy", "fancy_boot", "flower", "grey_sloth_plushie", "monster_toy"),
    *("pink_sunglasses", "poop_emoji", "rc_car", "red_cartoon", "robot_toy", "shiny_sneaker"),
    *("table", "teapot", "teddybear", "tortoise_plushy", "vase", "wolf_plushie", "wooden_pot"),
)
"""Folder names: 30 of DreamBooth and 9 of Custom Diffusion, whose cat and dog are cat3 and dog9."""

_COUNTS = {"backpack": 6, "backpack_dog": 5, "cat": 5}
_COLOURS = {"grey_sloth_plushie": "gray", "pink_sunglasses": "pink", "red_cartoon": "red"}

STYLE_PROMPTS = (
    "a cat in the style of {}",
    "a teapot in the snow in the style of {}",
    "a robot toy in the city in the style of {}",
    "a flower on the beach in the style of {}",
    "a dog wearing a hat in the style of {}",
)
"""What an evaluation asks of a learned style."""


def concept_pictures(name: str) -> list[Picture]:
    """Return the pictures of one of CONCEPT_SET."""
    noun = concept_noun(name)
    noun = "cartoon" if noun == "red cartoon" else noun
    return individual(name, noun, _COLOURS.get(name), _COUNTS.get(name))


def style_pictures(style: str) -> list[Picture]:
    """Return five pictures of different things, all in one of CONCEPT_STYLES."""
    random = Random(f"style/{style}")
    nouns, scenes = random.sample(NOUNS, 5), random.sample(SCENES, 5)
    drawn = [draw_picture(random) for _ in nouns]
    return [
        Picture(
            noun=noun,
            scene=scene,
            style=style,
            colour=other.colour,
            accent=other.accent,
            marking=other.marking,
            shape=other.shape,
            seed=other.seed,
        )
        for noun, scene, other in zip(nouns, scenes, drawn, strict=True)
    ]


def write_concept_set(out: Path) -> None:
    """Write data/NAME/*.jpg with data/concepts.yaml, and styles/ in the same form.

    concepts.yaml: folder name -> `noun`, `property` (object or style) and `prompts` with {} for
    the concept's words.
    """
    objects, styles = {}, {}
    for name in CONCEPT_SET:
        write_pictures(concept_pictures(name), out / "data" / name)
        objects[name] = {"noun": concept_noun(name), "property": "object"}
        objects[name]["prompts"] = list(EDIT_PROMPTS)
    for name in CONCEPT_STYLES:
        write_pictures(style_pictures(name), out / "styles" / name)
        styles[name] = {"noun": "painting", "property": "style", "prompts": list(STYLE_PROMPTS)}
    for folder, concepts in (("data", objects), ("styles", styles)):
        text = yaml.safe_dump(concepts, sort_keys=False)
        (out / folder / "concepts.yaml").write_text(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="for example custom_datasets")
    write_concept_set(parser.parse_args().out)
