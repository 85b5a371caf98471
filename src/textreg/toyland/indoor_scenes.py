"""The places inside a house, drawn in the picture's own frame (0..1, y down)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .pen import box, ellipse, stroke

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from .pen import Pen


def _floor(pen: Pen, random: Random) -> None:
    """A wooden floor before a pale wall with a window."""
    pen.flood((250, 222, 214))
    pen.shape(box(-0.1, 0.56, 1.1, 0.62), (255, 250, 240))
    pen.flood((188, 122, 66), 0.62)
    shift = random.uniform(-0.06, 0.06)
    for k in range(-4, 9):
        x = 0.5 + (k / 4 - 0.5 + shift) * 0.9
        foot = 0.5 + (x - 0.5) * 1.7
        pen.shape(
            [(x - 0.008, 0.62), (x + 0.008, 0.62), (foot + 0.014, 1.1), (foot - 0.014, 1.1)],
            (132, 78, 38),
            0,
        )
    x = random.uniform(0.1, 0.18)
    pen.shape(box(x - 0.1, 0.1, x + 0.1, 0.36), (255, 255, 255))
    pen.shape(box(x - 0.07, 0.13, x + 0.07, 0.33), (150, 206, 240))


def _kitchen(pen: Pen, random: Random) -> None:
    """A tiled wall with a shelf, a counter, a stove and a fridge."""
    pen.flood((150, 216, 204))
    shift = random.uniform(0, 0.14)
    for k in range(-1, 8):
        pen.shape(box(k * 0.14 + shift, -0.1, k * 0.14 + shift + 0.018, 0.7), (244, 252, 248), 0)
    for k in range(5):
        pen.shape(box(-0.1, k * 0.14 + 0.05, 1.1, k * 0.14 + 0.068), (244, 252, 248), 0)
    shelf = random.uniform(0.24, 0.28)
    for x, high, colour in ((0.07, 0.13, (226, 60, 50)), (0.2, 0.1, (250, 200, 50))):
        pen.shape(box(x - 0.05, shelf - high, x + 0.05, shelf), colour)
    pen.shape(box(-0.1, shelf, 0.3, shelf + 0.04), (150, 92, 48))
    pen.shape(box(-0.1, 0.68, 1.1, 1.1), (36, 108, 122))
    pen.shape(box(-0.1, 0.64, 1.1, 0.71), (250, 240, 220))
    pen.shape(box(-0.1, 0.66, 0.24, 1.1), (238, 238, 238))
    pen.shape(box(-0.1, 0.62, 0.25, 0.67), (50, 50, 58))
    pen.shape(box(-0.1, 0.8, 0.19, 0.97), (50, 50, 58))
    for x in (0.05, 0.15):
        pen.shape(ellipse(x, 0.735, 0.026, 0.026, corners=10), (226, 60, 50), 0)
    left = random.uniform(0.79, 0.83)
    pen.shape(box(left, 0.1, 1.1, 1.1), (226, 226, 226))
    pen.shape(box(left, 0.4, 1.1, 0.425), (130, 138, 150), 0)
    for top, bottom in ((0.22, 0.36), (0.46, 0.66)):
        pen.shape(box(left + 0.035, top, left + 0.065, bottom), (110, 118, 130), 0)


def _swag(top: float, sag: float, thick: float) -> list[tuple[float, float]]:
    """Return a crescent that hangs between the picture's sides, thickest in the middle."""
    across = [k / 10 for k in range(11)]
    drop = [4 * x * (1 - x) for x in across]
    upper = [(x, top + sag * d) for x, d in zip(across, drop, strict=True)]
    lower = [(x, top + (sag + thick) * d) for x, d in zip(across, drop, strict=True)]
    return upper + lower[::-1]


def _fabric(pen: Pen, random: Random) -> None:
    """Soft pink cloth all over: swags that hang between folds down both sides."""
    pen.flood((249, 174, 202))
    deep = random.uniform(0.12, 0.22)
    for top in (-0.12, 0.12, 0.36, 0.6, 0.84):
        pen.shape(_swag(top, deep, 0.085), (226, 126, 168), 0.4)
        pen.shape(_swag(top + 0.01, deep + 0.1, 0.06), (255, 222, 233), 0)
    for side in (0.0, 1.0):
        inwards = 1 - 2 * side
        for away, colour in ((0.1, (226, 126, 168)), (0.035, (255, 222, 233))):
            x, bend = side + inwards * away, random.uniform(0.02, 0.05) * inwards
            fold = [(x, -0.15), (x + bend, 0.25), (x, 0.7), (x + bend, 1.15)]
            pen.shape(stroke(fold, 0.035, 0.045), colour, 0.4)


INDOORS: dict[str, Callable[[Pen, Random], None]] = {
    "floor": _floor,
    "kitchen": _kitchen,
    "fabric": _fabric,
}
