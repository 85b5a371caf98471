"""How each animal is drawn; all of them face the viewer or the left side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figure import Anchors, Figure
from .pen import ellipse, smooth, stroke

if TYPE_CHECKING:
    from random import Random

BLACK = (24, 22, 28)
EYE = (196, 226, 92)
PINK = (240, 140, 160)


def cat(random: Random) -> Figure:
    """Draw a sitting cat from the front: pointed ears, whiskers, a tail on the right."""
    wide, head = random.uniform(0.46, 0.56), random.uniform(0.0, 0.06)
    lean = random.uniform(-0.05, 0.05)
    tail = random.uniform(-0.25, 0.2)
    figure = Figure(
        Anchors(hat=(lean, -0.68, 0.36), eyes=(lean, -0.42, 0.23), neck=(0.0, 0.02, 0.46))
    )
    path = [(0.3, 0.86), (0.78, 0.84), (0.92, 0.4 + tail), (0.74, 0.02 + tail)]
    figure.body(stroke(path, 0.13, 0.1))
    figure.body(
        smooth(
            [
                (0, -0.2),
                (wide, 0.45),
                (wide * 1.02, 0.92),
                (0, 1.0),
                (-wide * 1.02, 0.92),
                (-wide, 0.45),
            ]
        )
    )
    figure.body(ellipse(lean, -0.38, 0.52 + head, 0.42))
    for side in (-1, 1):
        ear = [(lean + side * 0.54, -0.42), (lean + side * 0.5, -1.06), (lean + side * 0.1, -0.72)]
        figure.body(ear)
        figure.accent([(x * 0.86 + lean * 0.14 + side * 0.05, y * 0.92 - 0.05) for x, y in ear])
    tip = [(0.9, 0.3 + tail), (0.85, 0.16 + tail), (0.74, 0.02 + tail)]
    figure.accent(stroke(tip, 0.11, 0.1))
    figure.light(ellipse(0, 0.52, wide * 0.58, 0.36))
    figure.light(ellipse(-0.24, 0.95, 0.19, 0.11))
    figure.light(ellipse(0.24, 0.95, 0.19, 0.11))
    figure.light(ellipse(lean, -0.2, 0.25, 0.17), line=0.5)
    for side in (-1, 1):
        figure.detail(ellipse(lean + side * 0.23, -0.43, 0.13, 0.13), EYE)
        figure.detail(ellipse(lean + side * 0.23, -0.43, 0.05, 0.11), BLACK, line=0)
        for rise in (-0.08, 0.04):
            whisker = [(lean + side * 0.2, -0.2), (lean + side * 0.62, -0.2 + rise)]
            figure.detail(stroke(whisker, 0.014), BLACK, line=0)
    figure.detail([(lean - 0.09, -0.3), (lean + 0.09, -0.3), (lean, -0.19)], PINK, line=0.5)
    figure.marks = [
        *(
            stroke([(lean + x, -0.86), (lean + x * 0.8, -0.6)], 0.06, 0.03)
            for x in (-0.22, 0, 0.22)
        ),
        *(
            stroke([(s * 0.7, y), (s * 0.3, y + 0.06)], 0.06, 0.03)
            for s in (-1, 1)
            for y in (0.22, 0.47, 0.72)
        ),
        *(stroke([(s * 0.62 + lean, -0.3), (s * 0.34 + lean, -0.26)], 0.05, 0.02) for s in (-1, 1)),
        stroke([(0.66, 0.62 + tail / 2), (1.0, 0.68 + tail / 2)], 0.06),
    ]
    return figure


def dog(random: Random) -> Figure:
    """Draw a dog from its left side: long muzzle, hanging ear, raised tail, four legs."""
    rise, long = random.uniform(-0.04, 0.06), random.uniform(0.0, 0.1)
    wag = random.uniform(-0.12, 0.12)
    x, y = -0.46, -0.42 + rise
    figure = Figure(
        Anchors(
            hat=(x + 0.04, y - 0.34, 0.32),
            eyes=(x - 0.08, y - 0.08, 0.19),
            neck=(-0.28, 0.02, 0.34),
        )
    )
    figure.body(stroke([(0.62, 0.05), (0.85, -0.15), (0.92 + wag, -0.55)], 0.11, 0.08))
    for left in (-0.36, -0.1, 0.4, 0.66):
        figure.body(
            [(left - 0.12, 0.2), (left + 0.12, 0.2), (left + 0.1, 0.98), (left - 0.12, 0.98)]
        )
    figure.body(ellipse(0.17, 0.22, 0.66, 0.37))
    figure.body([(-0.7, -0.1), (-0.05, -0.5), (0.2, 0.1), (-0.4, 0.4)])
    figure.body(ellipse(x, y, 0.4, 0.36))
    figure.body(ellipse(x - 0.34, y + 0.12, 0.28 + long, 0.19))
    figure.accent(
        stroke(
            [(0.9 + wag * 0.6, -0.36), (0.91 + wag * 0.8, -0.45), (0.92 + wag, -0.55)], 0.1, 0.08
        )
    )
    figure.light(ellipse(x - 0.4, y + 0.17, 0.22 + long, 0.13), line=0.5)
    figure.light(ellipse(0.2, 0.46, 0.4, 0.13), line=0.5)
    for left in (-0.36, -0.1, 0.4, 0.66):
        figure.light(ellipse(left - 0.05, 0.95, 0.17, 0.1))
    figure.accent(
        smooth(
            [(x + 0.12, y - 0.28), (x + 0.4, y - 0.05), (x + 0.36, y + 0.48), (x + 0.12, y + 0.38)]
        )
    )
    figure.detail(ellipse(x - 0.61 - long, y + 0.04, 0.12, 0.1), BLACK)
    figure.detail(ellipse(x - 0.12, y - 0.08, 0.1, 0.11), (250, 250, 250))
    figure.detail(ellipse(x - 0.15, y - 0.07, 0.055, 0.07), BLACK, line=0)
    figure.detail(
        smooth(
            [(x - 0.42, y + 0.28), (x - 0.26, y + 0.28), (x - 0.3, y + 0.5), (x - 0.4, y + 0.5)]
        ),
        PINK,
    )
    figure.marks = [
        *(
            stroke([(left, -0.2), (left + 0.06, 0.3)], 0.07, 0.03)
            for left in (0.0, 0.24, 0.48, 0.72)
        ),
        *(
            stroke([(left - 0.2, 0.68), (left + 0.2, 0.68)], 0.06)
            for left in (-0.36, -0.1, 0.4, 0.66)
        ),
        stroke([(x - 0.1, y - 0.4), (x - 0.06, y - 0.22)], 0.06, 0.03),
    ]
    return figure


def duck(random: Random) -> Figure:
    """Draw a duck from its left side: flat beak, round breast, pointed tail."""
    plump, high = random.uniform(0.42, 0.5), random.uniform(-0.06, 0.04)
    figure = Figure(
        Anchors(
            hat=(-0.36, -0.8 + high, 0.31),
            eyes=(-0.47, -0.6 + high, 0.17),
            neck=(-0.3, -0.14 + high, 0.3),
        )
    )
    figure.detail(stroke([(0.0, 0.7), (0.0, 0.98)], 0.06), (250, 160, 40), behind=True)
    figure.detail(stroke([(0.26, 0.7), (0.26, 0.98)], 0.06), (250, 160, 40), behind=True)
    figure.accent(
        smooth(
            [
                (-0.6, -0.62 + high),
                (-1.06, -0.5 + high),
                (-1.02, -0.36 + high),
                (-0.55, -0.36 + high),
            ]
        ),
        behind=True,
    )
    figure.body(smooth([(0.5, 0.1), (1.08, -0.14), (0.92, 0.5), (0.5, 0.7)]))
    figure.body(ellipse(0.1, 0.36, 0.72, plump))
    figure.body(stroke([(-0.34, -0.5 + high), (-0.26, -0.1), (-0.25, 0.2)], 0.25, 0.36))
    figure.body(ellipse(-0.38, -0.52 + high, 0.36, 0.34))
    figure.light(smooth([(-0.2, 0.26), (0.3, 0.06), (0.84, 0.2), (0.5, 0.56), (0.05, 0.56)]))
    figure.detail(ellipse(-0.5, -0.6 + high, 0.1, 0.1), (250, 250, 250))
    figure.detail(ellipse(-0.53, -0.59 + high, 0.05, 0.06), BLACK, line=0)
    figure.marks = [
        *(
            stroke([(left, 0.55), (left - 0.04, 0.9)], 0.06, 0.03)
            for left in (-0.4, -0.14, 0.12, 0.38, 0.62)
        ),
        *(stroke([(-0.7, top), (-0.02, top + 0.03)], 0.05) for top in (-0.1, 0.12)),
        stroke([(-0.3, -0.9 + high), (-0.2, -0.6 + high)], 0.06, 0.03),
    ]
    return figure
