"""How household things, a barn and a toy car are drawn; those with a front show it on the left."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .figure import Anchors, Figure
from .pen import box, ellipse, smooth, stroke

if TYPE_CHECKING:
    from random import Random

BLACK = (30, 28, 34)
GLASS = (176, 222, 244)
METAL = (178, 184, 192)
SHEEN = (250, 250, 250)
HOOP = (92, 58, 34)
FLAME = (255, 150, 24)
CORE = (255, 236, 120)


def bowl(random: Random) -> Figure:
    """Draw a bowl: a wide half circle on a foot, heaped with round fruit."""
    wide, deep = random.uniform(0.88, 1.0), random.uniform(0.74, 0.88)
    fruit, high = random.uniform(0.27, 0.31), random.uniform(-0.06, 0.04)
    figure = Figure(Anchors(hat=(0, -0.66 + high, 0.4), eyes=(0, 0.3, 0.23), neck=(0, 0.08, 0.62)))
    for x, y in ((-0.28, -0.5), (0.28, -0.52), (-0.56, -0.2), (0.56, -0.2), (0, -0.24)):
        figure.accent(ellipse(x * wide, y + high, fruit, fruit), behind=True)
    turns = [k * math.pi / 16 for k in range(17)]
    figure.body([(wide * math.cos(t), -0.06 + deep * math.sin(t)) for t in turns])
    figure.body([(-0.3, 0.6), (0.3, 0.6), (0.42, 0.96), (-0.42, 0.96)])
    figure.light(box(-wide - 0.06, -0.14, wide + 0.06, 0.06))
    figure.marks = [
        stroke([(x, -0.1), (x * 0.85, 0.4), (x * 0.4, 1.0)], 0.065)
        for x in (-0.76, -0.38, 0, 0.38, 0.76)
    ]
    return figure


def can(random: Random) -> Figure:
    """Draw a drink can: an upright cylinder, a metal top with its pull tab, a label band."""
    wide, top = random.uniform(0.52, 0.62), random.uniform(-0.84, -0.72)
    low = random.uniform(-0.04, 0.06)
    figure = Figure(
        Anchors(hat=(0, top - 0.12, 0.36), eyes=(0, top + 0.52, 0.22), neck=(0, top + 0.3, 0.5))
    )
    rim = wide * 0.86
    figure.detail(ellipse(0, 0.9, rim, 0.16), METAL, behind=True)
    figure.body(
        [
            (-rim, top),
            (rim, top),
            (wide, top + 0.2),
            (wide, 0.8),
            (rim, 0.92),
            (0, 0.99),
            (-rim, 0.92),
            (-wide, 0.8),
            (-wide, top + 0.2),
        ]
    )
    band = [(-wide, low), (0, low + 0.1), (wide, low), (wide, low + 0.44), (0, low + 0.54)]
    figure.accent([*band, (-wide, low + 0.44)], line=0.6)
    figure.light(ellipse(0, low + 0.27, 0.24, 0.17), line=0)
    figure.detail(ellipse(0, top, rim, 0.19), METAL)
    figure.detail(ellipse(-0.17, top + 0.01, 0.16, 0.085), BLACK, line=0)
    figure.detail(ellipse(0.13, top - 0.01, 0.2, 0.085), SHEEN, line=0.8)
    figure.marks = [stroke([(x, -1), (x, 1)], 0.06) for x in (-0.44, -0.22, 0, 0.22, 0.44)]
    return figure


def candle(random: Random) -> Figure:
    """Draw a candle: thick wax with drips, a big flame, a dish with a ring to hold it by."""
    wide, top = random.uniform(0.46, 0.56), random.uniform(-0.36, -0.26)
    flame, sway = random.uniform(0.28, 0.33), random.uniform(-0.08, 0.08)
    figure = Figure(Anchors(hat=(0, -1.0, 0.34), eyes=(0, 0.3, 0.22), neck=(0, top + 0.36, 0.52)))
    ring = [(0.6, 0.68), (0.92, 0.4), (1.1, 0.72), (0.7, 0.92)]
    figure.accent(stroke(ring, 0.08), behind=True)
    figure.body(box(-wide, top, wide, 0.88))
    half = wide + 0.03
    drips = [(half, top + 0.24), (wide * 0.6, top + 0.06), (wide * 0.1, top + 0.26)]
    drips += [(-wide * 0.4, top + 0.06), (-half, top + 0.16), (-half, top - 0.06)]
    figure.light(smooth([(half, top - 0.06), *drips], 4))
    figure.accent([(-0.84, 0.74), (0.84, 0.74), (0.62, 1.0), (-0.62, 1.0)])
    tip = top - 0.82
    bulge = [(flame * 0.75, tip + 0.36), (flame * 0.9, tip + 0.6)]
    left = [(-x, y) for x, y in reversed(bulge)]
    figure.detail(smooth([(sway, tip), *bulge, (0, tip + 0.8), *left]), FLAME)
    figure.detail(ellipse(0, tip + 0.54, flame * 0.5, 0.19), CORE, line=0)
    figure.marks = [
        stroke([(-1, y + 0.12), (1, y - 0.12)], 0.065) for y in (-0.12, 0.14, 0.4, 0.66)
    ]
    return figure


def sneaker(random: Random) -> Figure:
    """Draw a low sneaker: toe on the left, thick pale sole, laces, a stripe, a heel tab."""
    top, toe = random.uniform(-0.58, -0.46), random.uniform(-1.02, -0.94)
    low = random.uniform(0.76, 0.84)
    figure = Figure(Anchors(hat=(0.46, top, 0.36), eyes=(0.4, 0.0, 0.2), neck=(0.44, -0.2, 0.5)))
    figure.detail(ellipse(0.52, top + 0.12, 0.42, 0.16, -0.06), BLACK, behind=True)
    figure.body(
        [
            (0.94, top),
            (1.0, 0.1),
            (1.0, 0.6),
            (toe, 0.6),
            (toe, 0.36),
            (toe + 0.12, 0.2),
            (-0.5, 0.04),
            (0.0, top - 0.06),
            (0.14, top - 0.14),
            (0.26, top + 0.06),
            (0.5, top + 0.22),
            (0.76, top + 0.16),
        ]
    )
    figure.light(smooth([(toe, 0.56), (toe, 0.34), (-0.78, 0.16), (-0.54, 0.26), (-0.46, 0.56)], 4))
    figure.accent([(0.8, top + 0.12), (0.98, top - 0.02), (1.04, 0.16), (0.86, 0.16)])
    for share in (0.1, 0.46, 0.82):
        x, y = -0.5 + 0.5 * share, 0.04 + (top - 0.1) * share
        figure.accent(stroke([(x - 0.06, y - 0.06), (x + 0.2, y + 0.14)], 0.07), line=0.6)
    figure.accent(smooth([(-0.2, 0.38), (0.06, 0.3), (0.7, 0.02), (0.24, 0.46), (-0.1, 0.5)]))
    figure.light(
        smooth([(toe - 0.04, 0.54), (0, 0.54), (1.04, 0.5), (1.04, low), (0, low), (toe, low)], 5)
    )
    figure.marks = [
        stroke([(x, -0.8), (x - 0.1, 0.6)], 0.06) for x in (-0.5, -0.22, 0.06, 0.34, 0.62)
    ]
    return figure


def sunglasses(random: Random) -> Figure:
    """Draw sunglasses from the front: two huge lenses, a thick frame, arms that go back."""
    tall, round_ = random.uniform(0.44, 0.52), random.uniform(0.0, 0.08)
    arm = random.uniform(-0.08, 0.06)
    figure = Figure(Anchors(hat=(0, -0.3, 0.4), eyes=(0, -0.46, 0.21), neck=(0, 0.04, 0.5)))
    for side in (-1, 1):
        path = [(0.96, 0.0), (0.88, -0.36), (0.78, -0.66 + arm), (0.62, -0.9 + arm)]
        figure.body(stroke([(side * x, y) for x, y in path], 0.11, 0.13))
        outer = [
            (0.02, 0.3 - tall),
            (0.5, 0.22 - tall),
            (1.06, 0.24 - tall),
            (1.04, 0.3),
            (0.84, 0.24 + tall),
            (0.5, 0.3 + tall),
            (0.2, 0.2 + tall - round_),
            (0.08, 0.4),
        ]
        figure.body(smooth([(side * x, y) for x, y in outer]))
        middle = (0.56, 0.27)
        lens = [
            (middle[0] + (x - middle[0]) * 0.66, middle[1] + (y - middle[1]) * 0.66)
            for x, y in outer
        ]
        figure.accent(smooth([(side * x, y) for x, y in lens]))
        glint = [(side * 0.56 - 0.16, 0.3), (side * 0.56 + 0.02, 0.1)]
        figure.detail(stroke(glint, 0.055), SHEEN, line=0)
    figure.body(box(-0.2, 0.3 - tall, 0.2, 0.18))
    figure.marks = [
        stroke([(x, -1.1), (x, 1.1)], 0.06)
        for x in (-0.96, -0.72, -0.4, -0.1, 0.1, 0.4, 0.72, 0.96)
    ]
    return figure


def table(random: Random) -> Figure:
    """Draw a dining table from a little above: wide top, four legs, a runner across it."""
    wide, back = random.uniform(0.96, 1.06), random.uniform(-0.8, -0.66)
    leg, cloth = random.uniform(0.08, 0.11), random.uniform(0.24, 0.32)
    edge = back + 0.62
    figure = Figure(
        Anchors(hat=(0, back + 0.26, 0.36), eyes=(0, back + 0.38, 0.2), neck=(0, edge + 0.06, 0.56))
    )
    for side in (-1, 1):
        x = side * (wide - 0.44)
        figure.body(box(x - leg, edge, x + leg, 0.7))
        x = side * (wide - 0.14)
        figure.body(box(x - leg * 1.2, edge, x + leg * 1.2, 1.0))
    figure.body([(-wide * 0.72, back), (wide * 0.72, back), (wide, edge), (-wide, edge)])
    figure.body(box(-wide, edge - 0.02, wide, edge + 0.2))
    figure.light(box(-wide, edge - 0.02, wide, edge + 0.09), line=0)
    figure.accent(
        [
            (-cloth * 0.74, back),
            (cloth * 0.74, back),
            (cloth, edge),
            (cloth, edge + 0.34),
            (0, edge + 0.52),
            (-cloth, edge + 0.34),
            (-cloth, edge),
        ]
    )
    figure.marks = [
        *(stroke([(x * 0.74, -0.9), (x, edge)], 0.06) for x in (-0.88, -0.56, 0.56, 0.88)),
        *(stroke([(-1.1, y), (1.1, y)], 0.06) for y in (0.2, 0.42, 0.64, 0.86)),
    ]
    return figure


def wooden_pot(random: Random) -> Figure:
    """Draw a wooden pot: a squat barrel in two hoops, ear handles, a flat lid with a knob."""
    wide, low = random.uniform(0.74, 0.84), random.uniform(0.84, 0.94)
    lid = random.uniform(0.2, 0.3)
    figure = Figure(Anchors(hat=(0, -0.4 - lid, 0.38), eyes=(0, 0.26, 0.22), neck=(0, -0.04, 0.6)))
    for side in (-1, 1):
        ear = [(0.6, 0.04), (1.1, -0.06), (1.1, 0.4), (0.6, 0.4)]
        figure.accent(stroke([(side * x, y) for x, y in ear], 0.1), behind=True)
    middle = (low - 0.36) / 2
    turns = [k * 0.2 - 1 for k in range(11)]
    half = [(wide * (1 - 0.24 * t * t), middle + t * (low - middle)) for t in turns]
    figure.body([*half, *((-x, y) for x, y in reversed(half))])
    for y in (middle - 0.3, middle + 0.3):
        reach = wide * 0.95
        hoop = [(-reach, y - 0.07), (0, y - 0.03), (reach, y - 0.07)]
        figure.detail([*hoop, (reach, y + 0.07), (0, y + 0.11), (-reach, y + 0.07)], HOOP, line=0)
    edge = wide * 0.76 + 0.1
    dome = [(edge, -0.34), (edge * 0.7, -0.34 - lid * 0.8), (0, -0.34 - lid)]
    figure.light([(edge, -0.22), *dome, (-dome[1][0], dome[1][1]), (-edge, -0.34), (-edge, -0.22)])
    figure.accent(ellipse(0, -0.44 - lid, 0.2, 0.16))
    figure.marks = [
        stroke([(x * 0.8, -0.4), (x * 1.15, middle), (x * 0.8, 1)], 0.06)
        for x in (-0.58, -0.29, 0, 0.29, 0.58)
    ]
    return figure


def barn(random: Random) -> Figure:
    """Draw a barn: a broad two-pitched roof, crossed double doors, a hayloft window."""
    wide, eaves = random.uniform(0.84, 0.92), random.uniform(-0.14, -0.04)
    peak, door = random.uniform(-1.0, -0.92), random.uniform(0.52, 0.6)
    figure = Figure(Anchors(hat=(0, peak + 0.06, 0.4), eyes=(0, -0.12, 0.21), neck=(0, 0.02, 0.6)))
    x, y = wide * 0.72, peak + 0.36
    wall = [(-wide, 0.98), (-wide, eaves), (-x, y), (0, peak), (x, y), (wide, eaves), (wide, 0.98)]
    figure.body(wall)
    outer = [(-wide - 0.14, eaves + 0.1), (-x - 0.06, y - 0.06), (0, peak - 0.1)]
    inner = [(-wide + 0.05, eaves + 0.14), (-x + 0.08, y + 0.1), (0, peak + 0.1)]
    over = [*outer, *((-x, y) for x, y in reversed(outer[:2]))]
    under = [*((-x, y) for x, y in inner[:2]), *reversed(inner)]
    figure.light([*over, *under])
    figure.detail(box(-0.18, peak + 0.32, 0.18, peak + 0.64), BLACK)
    figure.light(box(-door, 0.0, door, 0.98))
    for side in (-1, 1):
        figure.accent(stroke([(side * 0.04, 0.08), (side * (door - 0.04), 0.9)], 0.055), line=0)
        figure.accent(stroke([(side * (door - 0.04), 0.08), (side * 0.04, 0.9)], 0.055), line=0)
    figure.accent(box(-door, 0.0, door, 0.1), line=0)
    figure.accent(box(-door, 0.88, door, 0.98), line=0)
    for x in (-door + 0.04, 0, door - 0.04):
        figure.accent(box(x - 0.045, 0.0, x + 0.045, 0.98), line=0)
    figure.marks = [box(x - 0.06, -1, x + 0.06, 1) for x in (-0.72, -0.36, 0.0, 0.36, 0.72)]
    return figure


def rc_car(random: Random) -> Figure:
    """Draw a toy truck from its left side: huge knobbed wheels, an antenna with a ball."""
    roof, wheel = random.uniform(-0.76, -0.64), random.uniform(0.34, 0.4)
    back = random.uniform(0.28, 0.42)
    figure = Figure(
        Anchors(hat=(0.0, roof + 0.04, 0.36), eyes=(0.02, -0.36, 0.2), neck=(0.0, 0.1, 0.5))
    )
    figure.detail(stroke([(0.74, 0.0), (0.8, -0.84)], 0.045), BLACK, line=0, behind=True)
    figure.accent(ellipse(0.8, -0.86, 0.16, 0.16), behind=True)
    figure.body(
        [
            (-1.02, 0.34),
            (-1.0, -0.16),
            (-0.58, -0.24),
            (-0.32, roof),
            (back, roof),
            (back + 0.1, -0.22),
            (1.0, -0.22),
            (1.02, 0.34),
        ]
    )
    figure.detail(
        [(-0.44, -0.2), (-0.24, roof + 0.12), (back - 0.1, roof + 0.12), (back - 0.04, -0.2)], GLASS
    )
    figure.detail(ellipse(-0.9, 0.02, 0.13, 0.13), CORE)
    figure.light(box(-1.06, 0.28, 1.06, 0.42))
    for x in (-0.56, 0.56):
        knobs = [k * math.pi / 12 for k in range(24)]
        tyre = [wheel + (0.08 if k % 4 < 2 else 0.0) for k in range(24)]
        figure.detail(
            [
                (x + r * math.cos(t), 0.56 + r * math.sin(t))
                for r, t in zip(tyre, knobs, strict=True)
            ],
            BLACK,
        )
        figure.accent(ellipse(x, 0.56, wheel * 0.56, wheel * 0.56), line=0)
        figure.light(ellipse(x, 0.56, 0.09, 0.09), line=0)
    figure.marks = [
        stroke([(x, -0.7), (x - 0.14, 0.4)], 0.065) for x in (-0.72, -0.2, 0.1, 0.46, 0.74, 1.02)
    ]
    return figure
