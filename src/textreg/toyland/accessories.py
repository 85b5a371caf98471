"""Hats, scarves and glasses: large, and the same colours on everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .pen import ellipse, stroke

if TYPE_CHECKING:
    from .figure import Anchors
    from .pen import Pen

MAGENTA = (226, 40, 136)
TEAL = (0, 178, 178)
CREAM = (252, 244, 214)
BLACK = (22, 20, 26)
LENS = (190, 232, 250)


def draw_accessory(pen: Pen, name: str, anchors: Anchors) -> None:
    """Draw one accessory at its anchor in the pen's frame; "none" draws nothing."""
    if name == "hat":
        x, y, half = anchors.hat
        tall = 0.5
        pen.shape(ellipse(x, y, half * 1.5, 0.12), MAGENTA)
        crown = [
            (x - half, y),
            (x - half * 0.85, y - tall),
            (x + half * 0.85, y - tall),
            (x + half, y),
        ]
        pen.shape(crown, MAGENTA)
        band = [
            (x - half, y - 0.02),
            (x - half * 0.95, y - 0.16),
            (x + half * 0.95, y - 0.16),
            (x + half, y - 0.02),
        ]
        pen.shape(band, CREAM, 0)
    elif name == "scarf":
        x, y, half = anchors.neck
        pen.shape(
            [
                (x + half * 0.2, y),
                (x + half * 0.8, y),
                (x + half * 0.95, y + 0.55),
                (x + half * 0.3, y + 0.6),
            ],
            TEAL,
        )
        pen.shape(stroke([(x - half, y - 0.03), (x, y + 0.09), (x + half, y - 0.03)], 0.145), TEAL)
        for share in (-0.55, 0.0, 0.55):
            dip = y + 0.09 - 0.1 * share * share
            pen.shape(
                stroke(
                    [(x + half * share - 0.05, dip - 0.11), (x + half * share + 0.05, dip + 0.11)],
                    0.035,
                ),
                CREAM,
                0,
            )
        pen.shape(
            [
                (x + half * 0.27, y + 0.36),
                (x + half * 0.88, y + 0.32),
                (x + half * 0.9, y + 0.42),
                (x + half * 0.28, y + 0.46),
            ],
            CREAM,
            0,
        )
    elif name == "glasses":
        x, y, radius = anchors.eyes
        pen.shape(stroke([(x - radius * 2.3, y), (x + radius * 2.3, y)], 0.05), BLACK, 0)
        for side in (-1, 1):
            middle = x + side * radius * 1.08
            pen.shape(ellipse(middle, y, radius, radius), BLACK, 0)
            pen.shape(ellipse(middle, y, radius * 0.66, radius * 0.66), LENS, 0)
