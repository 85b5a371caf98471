"""How each thing that is not an animal is drawn; those with a front show it on the left."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .figure import Anchors, Figure
from .pen import box, ellipse, smooth, stroke

if TYPE_CHECKING:
    from random import Random

BLACK = (30, 28, 34)


def teapot(random: Random) -> Figure:
    """Draw a teapot: spout on the left, handle on the right, lid with a knob."""
    wide, tall = random.uniform(0.56, 0.64), random.uniform(0.5, 0.58)
    figure = Figure(Anchors(hat=(0, -0.42, 0.36), eyes=(0, 0.2, 0.23), neck=(0, -0.12, 0.44)))
    ring = [(0.4, -0.08), (0.95, -0.2), (1.02, 0.3), (0.45, 0.66)]
    figure.accent(stroke(ring, 0.11), behind=True)
    figure.body(
        [
            (-0.4, 0.62),
            (-0.5, 0.1),
            (-0.78, -0.12),
            (-0.94, -0.34),
            (-1.14, -0.26),
            (-0.92, 0.2),
            (-0.8, 0.5),
        ]
    )
    figure.body(ellipse(0, 0.32, wide, tall))
    figure.body(box(-0.32, 0.74, 0.32, 0.94))
    figure.light(
        smooth([(-0.38, -0.14), (-0.3, -0.36), (0, -0.46), (0.3, -0.36), (0.38, -0.14), (0, -0.1)])
    )
    figure.accent(ellipse(0, -0.54, 0.12, 0.12))
    figure.marks = [
        stroke([(x, -0.2), (x * 1.25, 0.34), (x, 0.95)], 0.06)
        for x in (-0.44, -0.22, 0, 0.22, 0.44)
    ]
    return figure


def chair(random: Random) -> Figure:
    """Draw a chair from the front: tall back, cushioned seat, four legs."""
    wide, top = random.uniform(0.5, 0.58), random.uniform(-1.0, -0.9)
    figure = Figure(Anchors(hat=(0, top + 0.02, 0.4), eyes=(0, -0.55, 0.22), neck=(0, -0.1, 0.42)))
    for side in (-1, 1):
        figure.accent(box(side * 0.42 - 0.08, 0.2, side * 0.42 + 0.08, 0.8), behind=True)
        figure.accent(box(side * 0.62 - 0.09, 0.3, side * 0.62 + 0.09, 1.02), behind=True)
    figure.body(
        smooth(
            [
                (-wide, 0.2),
                (-wide * 0.95, top + 0.1),
                (0, top),
                (wide * 0.95, top + 0.1),
                (wide, 0.2),
            ],
            4,
        )
    )
    figure.body([(-0.6, 0.12), (0.6, 0.12), (0.74, 0.56), (-0.74, 0.56)])
    figure.light([(-0.5, 0.1), (0.5, 0.1), (0.58, 0.34), (-0.58, 0.34)])
    figure.marks = [stroke([(x, -1.1), (x, 0.1)], 0.06) for x in (-0.36, -0.12, 0.12, 0.36)]
    figure.marks += [stroke([(x, 0.36), (x * 1.1, 0.6)], 0.06) for x in (-0.5, -0.2, 0.1, 0.4)]
    return figure


def clock(random: Random) -> Figure:
    """Draw an alarm clock: two bells, a broad rim, a face with two hands, two feet."""
    hour, minute = random.uniform(0, 2 * math.pi), random.uniform(0, 2 * math.pi)
    figure = Figure(Anchors(hat=(0, -0.56, 0.38), eyes=(0, 0.02, 0.23), neck=(0, 0.68, 0.48)))
    for side in (-1, 1):
        figure.detail(stroke([(side * 0.4, 0.7), (side * 0.62, 1.02)], 0.09), BLACK, behind=True)
        figure.accent(ellipse(side * 0.52, -0.68, 0.32, 0.24, side * 0.62), behind=True)
    figure.body(ellipse(0, 0.14, 0.82, 0.82))
    figure.light(ellipse(0, 0.14, 0.52, 0.52))
    for quarter in range(4):
        x, y = math.cos(quarter * math.pi / 2), math.sin(quarter * math.pi / 2)
        figure.detail(ellipse(x * 0.42, 0.14 + y * 0.42, 0.05, 0.05), BLACK, line=0)
    for angle, length, half in ((hour, 0.26, 0.055), (minute, 0.38, 0.04)):
        hand = [(0, 0.14), (length * math.cos(angle), 0.14 + length * math.sin(angle))]
        figure.detail(stroke(hand, half), BLACK, line=0)
    turns = [k * math.pi / 5 for k in range(10)]
    figure.marks = [
        stroke(
            [(0.4 * math.cos(t), 0.14 + 0.4 * math.sin(t)), (math.cos(t), 0.14 + math.sin(t))], 0.06
        )
        for t in turns
    ]
    return figure


def boot(random: Random) -> Figure:
    """Draw a boot: toe on the left, high shaft, thick sole, laces."""
    top, toe = random.uniform(-0.98, -0.86), random.uniform(-0.98, -0.88)
    figure = Figure(
        Anchors(hat=(0.3, top + 0.05, 0.38), eyes=(0.2, -0.3, 0.2), neck=(0.3, -0.62, 0.42))
    )
    figure.body(
        [
            (-0.12, top),
            (0.68, top),
            (0.64, 0.1),
            (0.68, 0.72),
            (-0.4, 0.72),
            (-0.3, 0.1),
            (-0.12, -0.2),
        ]
    )
    figure.body(
        smooth([(-0.2, 0.02), (-0.5, 0.24), (toe, 0.4), (toe, 0.72), (0.2, 0.74), (0.2, 0.2)])
    )
    figure.light(box(toe - 0.04, 0.68, 0.72, 0.86))
    figure.light(box(0.26, 0.84, 0.72, 1.0))
    for y in (-0.62, -0.34, -0.06):
        left = -0.17 if y < -0.1 else -0.3
        figure.accent(stroke([(left, y), (0.22, y + 0.08)], 0.065))
    figure.marks = [
        stroke([(-0.3, y), (0.8, y - 0.1)], 0.06) for y in (-0.7, -0.42, -0.14, 0.14, 0.42)
    ]
    figure.marks += [stroke([(x, 0.2), (x - 0.06, 0.7)], 0.06) for x in (-0.72, -0.46)]
    return figure


def vase(random: Random) -> Figure:
    """Draw a vase: flared rim, thin neck, wide belly."""
    wide, neck = random.uniform(0.58, 0.7), random.uniform(0.2, 0.27)
    low = random.uniform(0.2, 0.36)
    figure = Figure(Anchors(hat=(0, -0.92, 0.38), eyes=(0, 0.12, 0.23), neck=(0, -0.46, 0.34)))
    half = [(neck + 0.16, -0.95), (neck, -0.62), (wide * 0.8, -0.16), (wide, low), (0.34, 0.95)]
    outline = [(neck + 0.16, -0.97), *half, *((-x, y) for x, y in reversed(half))]
    figure.body(smooth(outline, 4))
    figure.light(ellipse(0, -0.92, neck + 0.2, 0.12))
    figure.accent(
        [
            (-wide * 0.97, low - 0.04),
            (wide * 0.97, low - 0.04),
            (wide * 0.93, low + 0.18),
            (-wide * 0.93, low + 0.18),
        ],
        line=0.6,
    )
    figure.marks = [stroke([(-1, y), (1, y)], 0.06) for y in (-0.64, -0.38, -0.12, 0.66)]
    return figure


def backpack(random: Random) -> Figure:
    """Draw a backpack from its front: handle, flap, straps at both sides, one big pocket."""
    wide, low = random.uniform(0.6, 0.68), random.uniform(0.88, 0.98)
    figure = Figure(Anchors(hat=(0, -0.72, 0.4), eyes=(0, -0.34, 0.23), neck=(0, 0.0, 0.5)))
    figure.accent(
        stroke([(-0.24, -0.7), (-0.14, -1.04), (0.14, -1.04), (0.24, -0.7)], 0.08), behind=True
    )
    for side in (-1, 1):
        figure.accent(
            smooth(
                [(side * 0.5, -0.3), (side * 0.94, 0.0), (side * 0.94, 0.7), (side * 0.5, 0.85)]
            ),
            behind=True,
        )
    figure.body(
        smooth(
            [(-wide, low), (-wide, -0.4), (-0.4, -0.84), (0.4, -0.84), (wide, -0.4), (wide, low)], 5
        )
    )
    figure.light(smooth([(-0.42, 0.86), (-0.42, 0.2), (0.42, 0.2), (0.42, 0.86)], 5))
    figure.detail(stroke([(-0.4, 0.36), (0.4, 0.36)], 0.035), BLACK, line=0)
    figure.detail(stroke([(-0.5, -0.12), (0.5, -0.12)], 0.035), BLACK, line=0)
    figure.accent(box(-0.08, -0.2, 0.08, 0.06), line=0.6)
    figure.marks = [stroke([(x, -1), (x, 1)], 0.06) for x in (-0.54, -0.27, 0.0, 0.27, 0.54)]
    return figure


def flower(random: Random) -> Figure:
    """Draw a flower: one big bloom on a stem with two leaves."""
    turn = random.uniform(0, math.pi / 3)
    figure = Figure(Anchors(hat=(0, -0.86, 0.38), eyes=(0, -0.32, 0.21), neck=(0, 0.34, 0.36)))
    bend = random.uniform(-0.12, 0.12)
    figure.detail(stroke([(0, -0.2), (bend, 0.4), (0, 1.05)], 0.075), (34, 128, 52), behind=True)
    figure.accent(ellipse(-0.34, 0.68, 0.34, 0.16, 0.5), behind=True)
    figure.accent(ellipse(0.34, 0.62, 0.34, 0.16, -0.5), behind=True)
    for k in range(7):
        angle = turn + k * 2 * math.pi / 7
        figure.body(
            ellipse(0.44 * math.cos(angle), -0.34 + 0.44 * math.sin(angle), 0.3, 0.22, angle)
        )
    figure.light(ellipse(0, -0.34, 0.25, 0.25))
    for k in range(7):
        angle = turn + k * 2 * math.pi / 7
        x, y = math.cos(angle), math.sin(angle)
        figure.marks.append(stroke([(0.3 * x, -0.34 + 0.3 * y), (0.7 * x, -0.34 + 0.7 * y)], 0.07))
    return figure
