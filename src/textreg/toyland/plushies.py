"""How each plush animal is drawn; all of them face the viewer or the left side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figure import Anchors, Figure
from .pen import ellipse, smooth, stroke

if TYPE_CHECKING:
    from random import Random

BLACK = (24, 22, 28)
WHITE = (250, 250, 250)
CLAW = (244, 232, 200)
AMBER = (255, 206, 60)
MASK = (58, 44, 42)


def teddy_bear(random: Random) -> Figure:
    """Draw a sitting teddy bear from the front: big round head and ears, bow tie, soles."""
    head, plump = random.uniform(0.52, 0.6), random.uniform(0.44, 0.54)
    ear, spread = random.uniform(0.2, 0.26), random.uniform(0.0, 0.08)
    figure = Figure(
        Anchors(hat=(0, -0.86, 0.36), eyes=(0, -0.5, 0.22), neck=(0, 0.04, 0.42)),
    )
    for side in (-1, 1):
        figure.body(ellipse(side * 0.46, -0.82, ear, ear))
        figure.body(stroke([(side * 0.3, 0.2), (side * 0.6, 0.3), (side * 0.84, 0.5)], 0.18, 0.16))
        figure.body(ellipse(side * (0.52 + spread), 0.82, 0.3, 0.27))
    figure.body(ellipse(0, 0.5, plump, 0.5))
    figure.body(ellipse(0, -0.44, head, 0.5))
    for side in (-1, 1):
        figure.light(ellipse(side * 0.48, -0.85, ear * 0.5, ear * 0.5), line=0.5)
        figure.light(ellipse(side * (0.56 + spread), 0.83, 0.18, 0.17))
    figure.light(ellipse(0, 0.56, plump * 0.62, 0.32))
    figure.light(ellipse(0, -0.26, 0.28, 0.21), line=0.6)
    for side in (-1, 1):
        figure.detail(ellipse(side * 0.22, -0.54, 0.08, 0.09), BLACK, line=0)
        figure.accent([(0, 0.12), (side * 0.34, -0.06), (side * 0.34, 0.32)])
    figure.accent(ellipse(0, 0.13, 0.1, 0.11))
    figure.detail(ellipse(0, -0.33, 0.12, 0.08), BLACK, line=0)
    figure.marks = [
        *(stroke([(x, -1), (x * 0.8, -0.66)], 0.06, 0.03) for x in (-0.24, 0, 0.24)),
        *(stroke([(s * 0.66, -0.32), (s * 0.36, -0.28)], 0.06, 0.03) for s in (-1, 1)),
        *(stroke([(s * x, 0.1), (s * x, 0.7)], 0.06) for s in (-1, 1) for x in (0.44, 0.68)),
    ]
    return figure


def bear_plushie(random: Random) -> Figure:
    """Draw a bear on all fours from its left side: humped back, thick legs, saddle blanket."""
    hump, snout = random.uniform(-0.8, -0.66), random.uniform(0.0, 0.08)
    x, y = -0.64, random.uniform(-0.12, -0.02)
    figure = Figure(
        Anchors(
            hat=(x - 0.02, y - 0.26, 0.3), eyes=(x - 0.1, y - 0.04, 0.17), neck=(-0.34, 0.2, 0.3)
        )
    )
    for left in (-0.42, -0.08, 0.46, 0.76):
        figure.body(
            [(left - 0.17, 0.1), (left + 0.17, 0.1), (left + 0.16, 0.88), (left - 0.2, 0.88)]
        )
    figure.body(
        smooth(
            [
                (-0.62, 0.3),
                (-0.4, -0.2),
                (0.0, hump),
                (0.3, hump + 0.16),
                (0.76, -0.34),
                (0.98, 0.04),
                (0.92, 0.46),
                (0.2, 0.56),
                (-0.4, 0.52),
            ]
        )
    )
    for shift in (-0.14, 0.22):
        figure.body(ellipse(x + shift, y - 0.34, 0.16, 0.16))
    figure.body(ellipse(x, y, 0.4, 0.37))
    figure.body(ellipse(x - 0.24 - snout, y + 0.12, 0.22, 0.16))
    figure.accent(
        smooth(
            [
                (0.2, hump + 0.06),
                (0.38, hump + 0.14),
                (0.62, hump + 0.28),
                (0.7, 0.22),
                (0.42, 0.26),
                (0.18, 0.22),
            ]
        )
    )
    figure.light(ellipse(x - 0.26 - snout, y + 0.13, 0.17, 0.13), line=0.5)
    figure.light(ellipse(x + 0.22, y - 0.34, 0.09, 0.09), line=0.5)
    for left in (-0.42, -0.08, 0.46, 0.76):
        figure.light(ellipse(left - 0.06, 0.86, 0.2, 0.12))
    figure.detail(ellipse(x - 0.42 - snout, y + 0.06, 0.09, 0.08), BLACK, line=0)
    figure.detail(ellipse(x - 0.1, y - 0.06, 0.065, 0.075), BLACK, line=0)
    figure.marks = [
        *(stroke([(left, -0.8), (left + 0.04, -0.1)], 0.07, 0.03) for left in (-0.14, 0.06)),
        stroke([(0.84, -0.4), (0.88, 0.2)], 0.07, 0.03),
        *(
            stroke([(left - 0.24, 0.54), (left + 0.24, 0.54)], 0.06)
            for left in (-0.42, -0.08, 0.46, 0.76)
        ),
        stroke([(x + 0.02, y - 0.4), (x + 0.02, y - 0.14)], 0.06, 0.03),
    ]
    return figure


def sloth_plushie(random: Random) -> Figure:
    """Draw a sloth from the front: wide flat head, dark eye patches, very long hanging arms."""
    head, plump = random.uniform(0.66, 0.74), random.uniform(0.4, 0.48)
    bow = random.uniform(0.74, 0.82)
    figure = Figure(
        Anchors(hat=(0, -0.82, 0.36), eyes=(0, -0.5, 0.21), neck=(0, 0.0, 0.44)),
    )
    for side in (-1, 1):
        for claw in (-0.11, 0.02, 0.15):
            x = side * (bow + claw)
            figure.detail(stroke([(x, 0.76), (x - side * 0.03, 1.04)], 0.055), CLAW, behind=True)
        figure.body(stroke([(side * 0.3, 0.0), (side * 0.66, 0.3), (side * bow, 0.8)], 0.17, 0.16))
        figure.body(ellipse(side * 0.32, 0.86, 0.23, 0.16))
    figure.body(ellipse(0, 0.38, plump, 0.56))
    figure.body(ellipse(0, -0.46, head, 0.42))
    figure.accent(ellipse(0, 0.46, plump * 0.66, 0.3))
    figure.light(ellipse(0, -0.4, head * 0.84, 0.31), line=0.6)
    for side in (-1, 1):
        figure.detail(stroke([(side * 0.16, -0.5), (side * 0.5, -0.3)], 0.13, 0.1), MASK, line=0)
        figure.detail(ellipse(side * 0.22, -0.49, 0.065, 0.065), WHITE, line=0)
        figure.light(ellipse(side * 0.32, 0.9, 0.15, 0.1), line=0.5)
    figure.detail(ellipse(0, -0.36, 0.12, 0.08), BLACK, line=0)
    figure.detail(stroke([(-0.26, -0.24), (0, -0.13), (0.26, -0.24)], 0.035), BLACK, line=0)
    figure.marks = [
        *(
            stroke([(s * 0.45, y + 0.06), (s * 1.1, y - 0.06)], 0.06)
            for s in (-1, 1)
            for y in (0.18, 0.4, 0.62)
        ),
        *(stroke([(x, -0.98), (x * 0.8, -0.66)], 0.06, 0.04) for x in (-0.32, 0, 0.32)),
        stroke([(-0.4, 0.06), (0.4, 0.06)], 0.05),
    ]
    return figure


def tortoise_plushie(random: Random) -> Figure:
    """Draw a tortoise from its left side: high domed shell with a rim, light head and legs."""
    top, long = random.uniform(-0.74, -0.56), random.uniform(0.0, 0.08)
    x, y = -0.78, random.uniform(-0.24, -0.1)
    figure = Figure(
        Anchors(hat=(x, y - 0.22, 0.28), eyes=(x - 0.04, y - 0.05, 0.15), neck=(-0.62, 0.22, 0.24))
    )
    figure.light([(0.8, 0.36), (1.14, 0.62), (0.76, 0.6)], behind=True)
    figure.light(stroke([(-0.3, 0.44), (-0.58, 0.36), (x + 0.1, y + 0.1)], 0.2, 0.17), behind=True)
    for left in (-0.2, 0.62):
        leg = [(-0.2, 0.4), (0.22, 0.4), (0.2, 0.94), (-0.24, 0.94)]
        figure.light(smooth([(left + a, b) for a, b in leg]), behind=True)
    figure.light(ellipse(x, y, 0.27 + long, 0.26), behind=True)
    figure.body(
        smooth(
            [
                (-0.52, 0.46),
                (-0.42, -0.14),
                (-0.08, top + 0.08),
                (0.24, top),
                (0.56, top + 0.08),
                (0.9, -0.14),
                (1.0, 0.46),
                (0.24, 0.54),
            ]
        )
    )
    figure.accent(stroke([(-0.56, 0.44), (0.22, 0.54), (1.02, 0.44)], 0.12))
    figure.detail(ellipse(x - 0.06, y - 0.06, 0.07, 0.08), BLACK, line=0)
    figure.detail(stroke([(x - 0.26 - long, y + 0.1), (x - 0.04, y + 0.12)], 0.03), BLACK, line=0)
    figure.marks = [
        stroke([(-0.12, -0.9), (0.04, -0.1), (-0.16, 0.5)], 0.06),
        stroke([(0.6, -0.9), (0.44, -0.1), (0.64, 0.5)], 0.06),
        stroke([(-0.7, 0.06), (0.0, -0.08)], 0.06),
        stroke([(0.48, -0.08), (1.1, 0.06)], 0.06),
        stroke([(0.0, -0.1), (0.48, -0.1)], 0.06),
    ]
    return figure


def wolf_plushie(random: Random) -> Figure:
    """Draw a sitting wolf from the front: tall ears, cheek spikes, long muzzle, bushy tail."""
    wide, ear = random.uniform(0.38, 0.46), random.uniform(-1.08, -0.98)
    cheek, tail = random.uniform(0.66, 0.74), random.uniform(-0.12, 0.1)
    figure = Figure(
        Anchors(hat=(0, -0.7, 0.34), eyes=(0, -0.42, 0.2), neck=(0, 0.12, 0.38)),
    )
    figure.body(
        smooth(
            [
                (0.2, 0.94),
                (0.62, 0.94),
                (0.96, 0.66 + tail),
                (1.04, 0.24 + tail),
                (0.86, -0.14 + tail),
                (0.66, 0.24 + tail),
                (0.56, 0.56),
            ]
        )
    )
    figure.body(
        smooth(
            [
                (-0.26, 0),
                (0.26, 0),
                (wide, 0.5),
                (wide + 0.06, 0.96),
                (-wide - 0.06, 0.96),
                (-wide, 0.5),
            ]
        )
    )
    half = [
        (0.14, -0.74),
        (0.46, ear),
        (0.56, -0.56),
        (cheek, -0.22),
        (0.52, -0.16),
        (0.52, 0.0),
        (0.34, -0.02),
        (0.14, 0.2),
    ]
    figure.body([*half, *((-x, y) for x, y in reversed(half))])
    for side in (-1, 1):
        figure.light(ellipse(side * 0.2, 0.94, 0.19, 0.12))
        figure.light([(side * 0.24, -0.72), (side * 0.43, ear + 0.16), (side * 0.47, -0.6)], line=0)
    bib = [
        (-0.36, 0.1),
        (0.36, 0.1),
        (0.3, 0.4),
        (0.12, 0.44),
        (0, 0.72),
        (-0.12, 0.44),
        (-0.3, 0.4),
    ]
    figure.accent(bib)
    figure.light(
        [
            (0, -0.44),
            (0.18, -0.2),
            (0.44, -0.18),
            (0.3, 0.0),
            (0.12, 0.22),
            (-0.12, 0.22),
            (-0.3, 0.0),
            (-0.44, -0.18),
            (-0.18, -0.2),
        ],
        line=0.6,
    )
    for side in (-1, 1):
        eye = [(side * 0.12, -0.3), (side * 0.36, -0.5), (side * 0.36, -0.34), (side * 0.24, -0.27)]
        figure.detail(eye, AMBER, line=0.8)
        figure.detail(ellipse(side * 0.26, -0.37, 0.05, 0.07), BLACK, line=0)
    figure.detail(ellipse(0, 0.1, 0.13, 0.1), BLACK, line=0)
    figure.marks = [
        *(stroke([(x, -0.86), (x * 0.7, -0.5)], 0.06, 0.03) for x in (-0.2, 0, 0.2)),
        *(stroke([(s * 0.8, -0.36), (s * 0.44, -0.3)], 0.06, 0.03) for s in (-1, 1)),
        *(
            stroke([(s * 0.6, y), (s * 0.26, y + 0.04)], 0.06, 0.03)
            for s in (-1, 1)
            for y in (0.5, 0.72)
        ),
        *(stroke([(0.6, y + tail), (1.1, y + tail)], 0.06) for y in (0.4, 0.64)),
    ]
    return figure
