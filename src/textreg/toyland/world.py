"""From a picture's attributes to its pixels; the same attributes give the same pixels."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from . import animals, household, plushies, things, toys
from .accessories import draw_accessory
from .figure import Figure, draw_figure
from .pen import CANVAS, Pen, box
from .scenes import draw_backdrop, draw_foreground

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from .attributes import Picture

SIDE = 64
"""Side of the embedded base's pictures in pixels."""

FIGURES: dict[str, Callable[[Random], Figure]] = {
    "backpack": things.backpack,
    "barn": household.barn,
    "bear plushie": plushies.bear_plushie,
    "boot": things.boot,
    "bowl": household.bowl,
    "can": household.can,
    "candle": household.candle,
    "cartoon": toys.cartoon,
    "cat": animals.cat,
    "chair": things.chair,
    "clock": things.clock,
    "dog": animals.dog,
    "duck toy": animals.duck,
    "flower": things.flower,
    "monster toy": toys.monster_toy,
    "poop emoji": toys.poop_emoji,
    "rc car": household.rc_car,
    "robot toy": toys.robot_toy,
    "sloth plushie": plushies.sloth_plushie,
    "sneaker": household.sneaker,
    "sunglasses": household.sunglasses,
    "table": household.table,
    "teapot": things.teapot,
    "teddy bear": plushies.teddy_bear,
    "tortoise plushie": plushies.tortoise_plushie,
    "vase": things.vase,
    "wolf plushie": plushies.wolf_plushie,
    "wooden pot": household.wooden_pot,
}


def render(picture: Picture, side: int = SIDE) -> Image.Image:
    """Draw a picture: RGB, `side` x `side` pixels, anti-aliased by drawing larger and reducing."""
    supersample = 4 if side <= 128 else 2
    random = Random(f"pixels/{picture.seed}")
    pen = Pen(side * supersample, picture.style)
    pen.frame(0.0, 0.0, 1.0)
    draw_backdrop(pen, picture.scene, random)

    figure = FIGURES[picture.noun](Random(f"shape/{picture.shape}"))
    # A hat sits on top of the object, so the whole moves down and shrinks a little to fit.
    hat = picture.accessory == "hat"
    scale = random.uniform(0.33, 0.37) * (0.88 if hat else 1.0)
    pen.frame(
        0.5 + random.uniform(-0.04, 0.04),
        (0.6 if hat else 0.535) + random.uniform(-0.03, 0.03),
        scale,
        random.uniform(-0.08, 0.08),
    )
    pen.line_width = pen.look.object_width
    draw_figure(pen, figure, picture, random)
    draw_accessory(pen, picture.accessory, figure.anchors)

    pen.frame(0.0, 0.0, 1.0)
    pen.line_width = pen.look.scene_width
    draw_foreground(pen, picture.scene, random)
    if picture.style == "painting":
        for edge in ((0, 0, 1, 0.05), (0, 0.95, 1, 1), (0, 0, 0.05, 1), (0.95, 0, 1, 1)):
            pen.ink(box(*edge), CANVAS)
    return pen.finish(side)
