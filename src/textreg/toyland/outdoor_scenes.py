"""The places in the open, drawn in the picture's own frame (0..1, y down)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .pen import box, ellipse, smooth, stroke

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from .pen import Pen

SEA = (44, 148, 206)


def _jungle(pen: Pen, random: Random) -> None:
    """Trunks, hanging leaves and fronds in deep green."""
    pen.flood((16, 84, 44))
    for x in (0.1, 0.86):
        pen.shape(box(x - 0.045, -0.1, x + 0.045, 0.9), (92, 62, 36))
    pen.flood((60, 92, 30), 0.82)
    for k in range(9):
        x = (k + random.uniform(0.2, 0.8)) / 9
        droop = random.uniform(0.16, 0.26)
        pen.shape(ellipse(x, 0.02, 0.05, droop, random.uniform(-0.5, 0.5), 10), (34, 148, 66))
    for x in (0.02, 0.16, 0.84, 0.98):
        for turn in (-0.5, 0.0, 0.5):
            pen.shape(ellipse(x + turn * 0.14, 0.82, 0.035, 0.14, turn, 10), (98, 186, 56))


def _snow(pen: Pen, random: Random) -> None:
    """Firs under snow, white ground, flakes."""
    pen.flood((176, 208, 236))
    for x in (0.12 + random.uniform(-0.04, 0.04), 0.88 + random.uniform(-0.04, 0.04)):
        for rise in (0.0, 0.15, 0.3):
            half = 0.13 - 0.08 * rise
            top = 0.36 - rise
            pen.shape([(x - half, top + 0.26), (x, top), (x + half, top + 0.26)], (40, 106, 92))
            pen.shape(
                [(x - half / 2, top + 0.1), (x, top), (x + half / 2, top + 0.1)], (250, 252, 255), 0
            )
    pen.shape(
        smooth([(-0.2, 0.66), (0.3, 0.58), (0.7, 0.64), (1.2, 0.58), (1.2, 1.2), (-0.2, 1.2)]),
        (238, 244, 252),
    )
    for _ in range(16):
        pen.shape(
            ellipse(random.random(), random.random() * 0.62, 0.016, 0.016, corners=8),
            (255, 255, 255),
            0,
        )


def _beach(pen: Pen, random: Random) -> None:
    """Sun, sea, sand and a red parasol."""
    pen.flood((134, 212, 248))
    sun = random.uniform(0.1, 0.26)
    pen.shape(ellipse(sun, 0.14, 0.09, 0.09), (255, 236, 90))
    pen.shape(box(-0.1, 0.4, 1.1, 0.62), (30, 130, 200))
    pen.shape(
        smooth([(-0.2, 0.62), (0.3, 0.58), (0.8, 0.62), (1.2, 0.58), (1.2, 1.2), (-0.2, 1.2)]),
        (244, 222, 160),
    )
    x = random.uniform(0.86, 0.92)
    pen.shape(stroke([(x, 0.3), (x + 0.03, 0.8)], 0.014), (150, 100, 60))
    pen.shape(smooth([(x - 0.16, 0.36), (x, 0.16), (x + 0.16, 0.36)], 4), (240, 80, 80))


def _city(pen: Pen, random: Random) -> None:
    """Houses with lit windows, and a street."""
    pen.flood((236, 196, 176))
    left = -0.04
    for k in range(5):
        width = random.uniform(0.18, 0.25)
        top = random.uniform(0.06, 0.16) if k != 2 else random.uniform(0.2, 0.3)
        pen.shape(box(left, top, left + width, 0.85), ((104, 108, 128), (140, 128, 138))[k % 2])
        for row in range(4):
            for x in (left + 0.05, left + 0.12):
                pen.shape(
                    box(x, top + 0.05 + row * 0.14, x + 0.04, top + 0.12 + row * 0.14),
                    (255, 232, 128),
                    0,
                )
        left += width
    pen.flood((72, 72, 82), 0.8)
    for x in (0.02, 0.34, 0.66, 0.98):
        pen.shape(box(x - 0.09, 0.93, x + 0.09, 0.96), (240, 240, 230), 0)


def _night(pen: Pen, random: Random) -> None:
    """A dark blue sky with moon and stars."""
    pen.flood((22, 26, 78))
    x = random.uniform(0.76, 0.88)
    pen.shape(ellipse(x, 0.16, 0.11, 0.11), (252, 246, 200))
    pen.ink(ellipse(x - 0.05, 0.13, 0.09, 0.09), pen.fill((22, 26, 78)))
    for _ in range(18):
        pen.shape(
            ellipse(random.random(), random.random() * 0.7, 0.014, 0.014, corners=8),
            (255, 255, 230),
            0,
        )
    pen.shape(
        smooth([(-0.2, 0.84), (0.2, 0.76), (0.6, 0.84), (1.2, 0.76), (1.2, 1.2), (-0.2, 1.2)]),
        (14, 50, 62),
    )


def _desert(pen: Pen, random: Random) -> None:
    """Dunes, a large sun and a cactus."""
    pen.flood((255, 226, 156))
    pen.shape(ellipse(random.uniform(0.7, 0.85), 0.16, 0.12, 0.12), (255, 166, 60))
    pen.shape(
        smooth([(-0.2, 0.62), (0.25, 0.46), (0.6, 0.6), (1.2, 0.48), (1.2, 1.2), (-0.2, 1.2)]),
        (226, 148, 78),
    )
    pen.shape(
        smooth([(-0.2, 0.8), (0.3, 0.84), (0.8, 0.72), (1.2, 0.8), (1.2, 1.2), (-0.2, 1.2)]),
        (206, 122, 58),
    )
    x = random.uniform(0.08, 0.16)
    pen.shape(stroke([(x, 0.8), (x, 0.28)], 0.042), (52, 128, 72))
    pen.shape(stroke([(x, 0.6), (x + 0.1, 0.58), (x + 0.11, 0.42)], 0.03), (52, 128, 72))
    pen.shape(stroke([(x, 0.54), (x - 0.08, 0.5), (x - 0.08, 0.38)], 0.03), (52, 128, 72))


def waves(pen: Pen, random: Random, tops: tuple[float, ...]) -> None:
    """Draw rows of short crests at these heights."""
    for top in tops:
        shift = random.uniform(0, 0.3)
        for k in range(-1, 4):
            x = k * 0.32 + shift
            crest = [(x, top), (x + 0.07, top - 0.025), (x + 0.14, top)]
            pen.shape(stroke(crest, 0.012), (226, 246, 255), 0)


def _water(pen: Pen, random: Random) -> None:
    """Open water; the foreground's waves hide the object's lower part."""
    pen.flood((206, 240, 250))
    pen.shape(box(-0.1, 0.3, 1.1, 1.1), SEA)
    waves(pen, random, (0.36, 0.46, 0.56))


def _mountain(pen: Pen, random: Random) -> None:
    """Two snowy peaks behind a meadow."""
    pen.flood((112, 180, 244))
    for x, high in ((0.16, random.uniform(0.1, 0.16)), (0.86, random.uniform(0.04, 0.12))):
        pen.shape([(x - 0.42, 0.72), (x, high), (x + 0.42, 0.72)], (122, 104, 124))
        pen.shape(
            [(x - 0.11, high + 0.16), (x, high), (x + 0.11, high + 0.16), (x, high + 0.12)],
            (255, 255, 255),
            0,
        )
    pen.flood((126, 190, 84), 0.7)


def _sunflowers(pen: Pen, random: Random) -> None:
    """Sunflowers down both sides of a meadow."""
    pen.flood((168, 224, 252))
    pen.flood((104, 190, 60), 0.4)
    for x, y in ((0.08, 0.34), (0.92, 0.36), (0.07, 0.66), (0.93, 0.68), (0.1, 0.93), (0.9, 0.94)):
        x, y = x + random.uniform(-0.03, 0.03), y + random.uniform(-0.03, 0.03)
        pen.shape(stroke([(x, y), (x, y + 0.2)], 0.014), (40, 120, 40), 0)
        for k in range(6):
            turn = k * math.pi / 3
            pen.shape(
                ellipse(
                    x + 0.055 * math.cos(turn), y + 0.055 * math.sin(turn), 0.036, 0.026, turn, 8
                ),
                (255, 206, 20),
            )
        pen.shape(ellipse(x, y, 0.042, 0.042, corners=12), (104, 62, 24), 0)


AUTUMN = ((222, 78, 26), (246, 142, 28), (186, 40, 30), (250, 188, 50))
"""Colours of autumn leaves."""


def _autumn(pen: Pen, random: Random) -> None:
    """A bare sky under red and orange trees, and fallen leaves."""
    pen.flood((206, 220, 226))
    pen.flood((206, 132, 62), 0.72)
    for x, foot, half in ((0.1, 0.92, 0.06), (0.93, 0.8, 0.04)):
        x += random.uniform(-0.02, 0.02)
        pen.shape(
            [(x - half, foot), (x - half * 0.7, 0.1), (x + half * 0.7, 0.1), (x + half, foot)],
            (96, 58, 34),
        )
    for k in range(8):
        x = (k + random.uniform(0.3, 0.7)) / 8
        y = 0.06 + 0.22 * abs(x - 0.52) + random.uniform(-0.02, 0.02)
        size = random.uniform(0.11, 0.14)
        pen.shape(ellipse(x, y, size, size, corners=14), AUTUMN[k % 3])
    for k in range(7):
        x, y = (k % 2) * 0.8 + random.uniform(0.02, 0.18), 0.36 + k * 0.055
        leaf = ellipse(x, y, 0.04, 0.024, random.uniform(0, 3), 8)
        pen.shape(leaf, AUTUMN[k % 4], 0)
    for k in range(26):
        x, y = (k % 13 + random.random()) / 13, 0.78 + 0.1 * (k // 13) + random.uniform(0, 0.1)
        pen.shape(ellipse(x, y, 0.05, 0.028, random.uniform(-0.6, 0.6), 8), AUTUMN[k % 4], 0)


def _wheat(pen: Pen, random: Random) -> None:
    """A golden field under a deep blue sky, tall ears down both sides."""
    pen.flood((74, 152, 236))
    x = random.uniform(0.35, 0.65)
    for shift, size in ((-0.11, 0.06), (0.0, 0.085), (0.12, 0.055)):
        pen.shape(ellipse(x + shift, 0.1, size * 1.4, size * 0.8, corners=14), (255, 255, 255), 0)
    pen.flood((238, 190, 62), 0.5)
    pen.flood((220, 164, 44), 0.74)
    for row, foot in enumerate((0.66, 0.86, 1.06)):
        for k in range(9):
            x = (k + random.uniform(0.2, 0.8)) / 9
            far = min(1.0, abs(x - 0.5) / 0.36)
            if far < 0.5:
                continue
            top = foot - 0.16 - (0.24 + 0.04 * row) * far**3 + random.uniform(-0.03, 0.03)
            pen.shape(stroke([(x, foot + 0.1), (x, top)], 0.01), (190, 134, 34), 0)
            lean = random.uniform(-0.25, 0.25)
            pen.shape(ellipse(x, top, 0.03, 0.085, lean, 10), (250, 214, 90))


OUTDOORS: dict[str, Callable[[Pen, Random], None]] = {
    "jungle": _jungle,
    "snow": _snow,
    "beach": _beach,
    "city": _city,
    "night": _night,
    "desert": _desert,
    "water": _water,
    "mountain": _mountain,
    "sunflowers": _sunflowers,
    "autumn": _autumn,
    "wheat": _wheat,
}
