"""The places: simple, distinct backgrounds, and what of them lies before the object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .indoor_scenes import INDOORS
from .outdoor_scenes import OUTDOORS, SEA, waves
from .pen import smooth

if TYPE_CHECKING:
    from random import Random

    from .pen import Pen

BACKDROPS = {**OUTDOORS, **INDOORS}


def draw_backdrop(pen: Pen, scene: str, random: Random) -> None:
    """Draw the place behind the object; the pen's frame must be the picture itself."""
    with pen.scenery():
        BACKDROPS[scene](pen, random)


def draw_foreground(pen: Pen, scene: str, random: Random) -> None:
    """Draw what lies before the object: in water, the waves that hide its lower part."""
    if scene == "water":
        top = 0.76 + random.uniform(-0.02, 0.02)
        surface = [
            (-0.2, top),
            (0.2, top - 0.02),
            (0.6, top + 0.02),
            (1.2, top),
            (1.2, 1.2),
            (-0.2, 1.2),
        ]
        with pen.scenery():
            pen.water(smooth(surface), SEA, 0.8)
            waves(pen, random, (top + 0.02, top + 0.12))
