"""How each toy creature is drawn; all of them face the viewer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .figure import Anchors, Figure
from .pen import box, ellipse, smooth, stroke

if TYPE_CHECKING:
    from random import Random

BLACK = (24, 22, 28)
WHITE = (250, 250, 250)
MOUTH = (110, 20, 44)
LAMP = (255, 240, 140)


def monster_toy(random: Random) -> Figure:
    """Draw a monster: a furry egg with one big eye, two horns, a toothy mouth, stubby feet."""
    wide, tall = random.uniform(0.66, 0.76), random.uniform(0.7, 0.78)
    eye, horn = random.uniform(0.29, 0.35), random.uniform(-1.08, -0.96)
    figure = Figure(
        Anchors(hat=(0, -0.6, 0.36), eyes=(0, -0.2, 0.24), neck=(0, 0.72, 0.46)),
    )
    for side in (-1, 1):
        figure.accent(
            smooth(
                [
                    (side * 0.18, -0.5),
                    (side * 0.36, -0.74),
                    (side * 0.62, horn),
                    (side * 0.7, -0.7),
                    (side * 0.56, -0.36),
                ],
                4,
            ),
            behind=True,
        )
        figure.body(ellipse(side * 0.32, 0.9, 0.25, 0.14))
        figure.body(ellipse(side * (wide + 0.12), 0.26, 0.2, 0.15, side * 0.7))
    fur = []
    for k in range(52):
        angle, out = k * math.pi / 26, 1.05 if k % 2 else 0.94
        fur.append((wide * out * math.cos(angle), 0.1 + tall * out * math.sin(angle)))
    figure.body(fur)
    for side in (-1, 1):
        figure.light(ellipse(side * 0.34, 0.94, 0.19, 0.09), line=0.5)
    figure.detail(ellipse(0, -0.18, eye, eye), WHITE)
    figure.detail(ellipse(0, -0.16, 0.15, 0.16), BLACK, line=0)
    figure.detail(ellipse(-0.06, -0.22, 0.05, 0.05), WHITE, line=0)
    figure.detail(
        smooth([(-0.46, 0.3), (0, 0.38), (0.46, 0.3), (0.3, 0.58), (0, 0.66), (-0.3, 0.58)]), MOUTH
    )
    for x in (-0.24, 0, 0.24):
        figure.detail([(x - 0.11, 0.34), (x + 0.11, 0.34), (x, 0.54)], WHITE, line=0)
    figure.marks = [
        *(stroke([(x, -0.8), (x * 0.9, -0.5)], 0.06, 0.03) for x in (-0.22, 0, 0.22)),
        *(
            stroke([(s * 1.0, y), (s * 0.46, y + 0.04)], 0.06, 0.03)
            for s in (-1, 1)
            for y in (-0.24, 0.04, 0.32, 0.58)
        ),
    ]
    return figure


def robot_toy(random: Random) -> Figure:
    """Draw a robot: square head with an antenna, boxy body with a panel, straight limbs."""
    head, wide = random.uniform(0.5, 0.6), random.uniform(0.48, 0.56)
    top, arm = random.uniform(-0.8, -0.72), random.uniform(0.44, 0.6)
    figure = Figure(
        Anchors(hat=(0, top + 0.02, 0.36), eyes=(0, -0.48, 0.22), neck=(0, -0.06, 0.4)),
    )
    figure.detail(box(-0.05, -0.96, 0.05, -0.5), BLACK, line=0.5, behind=True)
    figure.accent(ellipse(0, -0.98, 0.13, 0.13), behind=True)
    for side in (-1, 1):
        figure.light(box(side * (head + 0.06) - 0.1, -0.54, side * (head + 0.06) + 0.1, -0.28))
        figure.light(box(side * 0.25 - 0.2, 0.84, side * 0.25 + 0.2, 1.02))
        figure.body(box(side * 0.25 - 0.13, 0.5, side * 0.25 + 0.13, 0.9))
        figure.body(box(side * (wide + 0.14) - 0.16, -0.02, side * (wide + 0.14) + 0.16, 0.2))
        figure.body(box(side * (wide + 0.2) - 0.1, 0.0, side * (wide + 0.2) + 0.1, arm))
        figure.light(
            box(side * (wide + 0.2) - 0.14, arm - 0.06, side * (wide + 0.2) + 0.14, arm + 0.16)
        )
    figure.body(box(-0.16, -0.3, 0.16, 0.2))
    figure.body(box(-head, top, head, -0.14))
    figure.body(box(-wide, -0.04, wide, 0.66))
    for side in (-1, 1):
        figure.detail(box(side * 0.25 - 0.15, -0.62, side * 0.25 + 0.15, -0.36), LAMP)
        figure.detail(box(side * 0.25 - 0.07, -0.56, side * 0.25 + 0.07, -0.42), BLACK, line=0)
    figure.detail(box(-0.28, -0.28, 0.28, -0.19), BLACK, line=0)
    figure.accent(box(-0.28, 0.12, 0.28, 0.5))
    figure.marks = [
        *(box(x - 0.05, -0.04, x + 0.05, 0.08) for x in (-0.24, 0, 0.24)),
        *(box(s * 0.39 - 0.05, -0.04, s * 0.39 + 0.05, 0.7) for s in (-1, 1)),
        *(box(s * 0.25 - 0.2, 0.7, s * 0.25 + 0.2, 0.79) for s in (-1, 1)),
        *(box(s * 0.7 - 0.2, y, s * 0.7 + 0.2, y + 0.09) for s in (-1, 1) for y in (0.1, 0.3)),
        box(-0.6, top + 0.02, 0.6, top + 0.1),
    ]
    return figure


def cartoon(random: Random) -> Figure:
    """Draw a cartoon character: huge head, giant eyes, big smile, tuft, tiny body in shorts."""
    head, tall = random.uniform(0.72, 0.84), random.uniform(0.5, 0.56)
    eye, tuft = random.uniform(0.24, 0.3), random.uniform(-0.06, 0.06)
    figure = Figure(
        Anchors(hat=(0, -0.74, 0.38), eyes=(0, -0.42, 0.27), neck=(0, 0.24, 0.32)),
    )
    for side in (-1, 1):
        figure.body(stroke([(side * 0.14, 0.36), (side * 0.62, 0.52)], 0.09))
        figure.body(ellipse(side * 0.66, 0.52, 0.14, 0.13))
        figure.body(stroke([(side * 0.15, 0.7), (side * 0.16, 0.92)], 0.09))
        figure.body(ellipse(side * 0.22, 0.95, 0.2, 0.09))
    figure.body(smooth([(-0.2, 0.1), (0.2, 0.1), (0.26, 0.76), (-0.26, 0.76)]))
    for x, y in ((-0.4, -1.0), (tuft, -1.2), (0.4, -1.0)):
        figure.body([(x * 0.5 - 0.17, -0.72), (x, y), (x * 0.5 + 0.17, -0.72)])
    figure.body(ellipse(0, -0.3, head, tall))
    figure.accent(
        [
            (-0.28, 0.56),
            (0.28, 0.56),
            (0.34, 0.84),
            (0.06, 0.84),
            (0, 0.72),
            (-0.06, 0.84),
            (-0.34, 0.84),
        ]
    )
    for side in (-1, 1):
        figure.detail(ellipse(side * 0.27, -0.42, eye, 0.29), WHITE)
        figure.detail(ellipse(side * 0.2, -0.38, 0.09, 0.13), BLACK, line=0)
    figure.detail(
        smooth([(-0.46, -0.1), (0, -0.02), (0.46, -0.1), (0.26, 0.1), (0, 0.16), (-0.26, 0.1)]),
        MOUTH,
    )
    figure.detail(
        [(-0.34, -0.08), (0, -0.03), (0.34, -0.08), (0.24, 0.02), (-0.24, 0.02)], WHITE, 0
    )
    figure.marks = [
        *(
            stroke([(s * 0.95, y), (s * 0.56, y + 0.02)], 0.06, 0.03)
            for s in (-1, 1)
            for y in (-0.46, -0.24, -0.02)
        ),
        *(stroke([(x, -0.92), (x, -0.66)], 0.06, 0.04) for x in (-0.4, -0.14, 0.14, 0.4)),
        stroke([(-0.4, 0.4), (0.4, 0.4)], 0.05),
        *(stroke([(s * 0.56, 0.4), (s * 0.52, 0.64)], 0.05) for s in (-1, 1)),
    ]
    return figure


def poop_emoji(random: Random) -> Figure:
    """Draw a soft-serve swirl: three stacked lobes with a tip, big eyes, a wide smile, a plate."""
    wide, middle = random.uniform(0.76, 0.86), random.uniform(0.56, 0.64)
    tip, eye = random.uniform(0.0, 0.16), random.uniform(0.17, 0.21)
    figure = Figure(
        Anchors(hat=(0, -0.7, 0.34), eyes=(0, 0.02, 0.23), neck=(0, 0.84, 0.5)),
    )
    figure.accent(ellipse(0, 0.86, wide + 0.2, 0.17), behind=True)
    figure.body(ellipse(0, 0.58, wide, 0.28))
    figure.body(ellipse(0, 0.06, middle, 0.29))
    figure.body(ellipse(0, -0.4, 0.38, 0.23))
    figure.body(
        smooth(
            [(-0.28, -0.5), (-0.06, -0.72), (-tip, -1.04), (0.2, -0.86), (0.32, -0.56), (0, -0.36)]
        )
    )
    for side in (-1, 1):
        figure.detail(ellipse(side * 0.25, 0.03, eye, 0.22), WHITE)
        figure.detail(ellipse(side * 0.22, 0.05, 0.09, 0.11), BLACK, line=0)
    figure.detail(
        smooth([(-0.4, 0.4), (0, 0.46), (0.4, 0.4), (0.26, 0.6), (0, 0.68), (-0.26, 0.6)]), WHITE
    )
    figure.marks = [
        *(stroke([(-0.5, y + 0.06), (0.5, y - 0.06)], 0.05) for y in (-0.82, -0.6, -0.38)),
        *(
            stroke([(s * 1.0, y), (s * 0.48, y + 0.02)], 0.06, 0.04)
            for s in (-1, 1)
            for y in (-0.06, 0.14, 0.44, 0.66)
        ),
        stroke([(-0.4, -0.2), (0.4, -0.2)], 0.045),
    ]
    return figure
