"""The drawing surface: polygons in a local frame, each style a way to fill and outline them."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from .attributes import RGB

Points = np.ndarray
"""Corners of a polygon: [n, 2], x to the right, y down."""

PAPER = (250, 247, 238)
CANVAS = (214, 190, 150)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Return the colour that lies `share` of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _saturate(colour: RGB) -> RGB:
    gray = sum(colour) / 3
    red, green, blue = (min(255, max(0, round(gray + 1.3 * (c - gray)))) for c in colour)
    return red, green, blue


@dataclass(frozen=True, slots=True)
class Style:
    """How a style fills and outlines."""

    fill: Callable[[RGB], RGB]
    """Of the object."""
    scene_fill: Callable[[RGB], RGB]
    line: Callable[[RGB], RGB]
    object_width: float
    """Width of an object's outline, as a share of the picture's side."""
    scene_width: float
    shaded: bool = False
    cells: int = 0
    """Squares along a side of the picture, in styles that are made of squares."""


def _flat(colour: RGB) -> RGB:
    return colour


def _tones(dark: RGB, bright: RGB) -> Callable[[RGB], RGB]:
    """Return a fill that keeps of a colour only how bright it is."""
    return lambda c: mix(dark, bright, (0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2]) / 255)


LOOKS: dict[str, Style] = {
    "photo": Style(_flat, _flat, lambda c: mix(c, (20, 15, 25), 0.62), 0.011, 0.0, shaded=True),
    "sketch": Style(
        lambda c: mix(PAPER, c, 0.7),
        lambda c: mix(PAPER, c, 0.28),
        lambda c: (72, 72, 78),
        0.016,
        0.012,
    ),
    "painting": Style(_saturate, _saturate, lambda c: (36, 18, 30), 0.022, 0.0),
    "pixel": Style(_saturate, _saturate, lambda c: (12, 10, 28), 0.025, 0.0, cells=32),
    "blueprint": Style(
        _tones((22, 62, 138), (120, 168, 232)),
        _tones((16, 44, 108), (64, 112, 190)),
        lambda c: (232, 244, 255),
        0.016,
        0.008,
    ),
    "sepia": Style(
        _tones((70, 38, 18), (244, 222, 178)),
        _tones((110, 74, 44), (232, 208, 164)),
        lambda c: (52, 28, 12),
        0.012,
        0.0,
        shaded=True,
    ),
    "neon": Style(
        lambda c: mix(c, (10, 6, 30), 0.55),
        lambda c: mix(c, (10, 6, 30), 0.86),
        lambda c: mix(_saturate(c), (255, 255, 255), 0.25),
        0.018,
        0.006,
    ),
}

CONCEPT_STYLES = ("blueprint", "sepia", "neon")
"""Styles that no training picture has: they are there to be learned."""

SHADES = 9
"""Levels per channel in a style that is made of squares."""


@lru_cache
def _circle(corners: int) -> Points:
    turn = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return np.stack([np.cos(turn), np.sin(turn)], 1)


def ellipse(
    x: float, y: float, width: float, height: float, angle: float = 0.0, corners: int = 26
) -> Points:
    """Return an ellipse as a polygon; width and height are half axes, angle in radians."""
    flat = _circle(corners) * (width, height)
    cosine, sine = math.cos(angle), math.sin(angle)
    return flat @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """Return an upright rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)


def smooth(corners: Sequence[tuple[float, float]], steps: int = 5) -> Points:
    """Return a closed Catmull-Rom curve through the corners."""
    p1 = np.array(corners, float)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    curve = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return curve.transpose(1, 0, 2).reshape(-1, 2)


@lru_cache
def _curve(corners: int) -> np.ndarray:
    """Return the matrix from a path's corners to its fine points: a cubic fit through them."""
    # An interpolating curve through few corners would overshoot; a fit is smooth enough.
    degree = min(3, corners - 1)
    fine = np.linspace(0, 1, max(2, 6 * (corners - 1)))
    solve = np.linalg.pinv(np.vander(np.linspace(0, 1, corners), degree + 1))
    return np.vander(fine, degree + 1) @ solve


def stroke(path: Sequence[tuple[float, float]], start: float, end: float | None = None) -> Points:
    """Return a thick open curve through the path; start and end are its half widths."""
    line = _curve(len(path)) @ np.array(path, float)
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    half = np.linspace(start, start if end is None else end, len(line))[:, None]
    tip = line[-1] + along[-1] * half[-1]
    return np.concatenate([line + across * half, tip[None], (line - across * half)[::-1]])


def _grown(points: Points, by: float) -> Points:
    """Move every corner outwards along its normal."""
    after, before = np.roll(points, -1, 0) - points, points - np.roll(points, 1, 0)
    after = after / (np.linalg.norm(after, axis=1, keepdims=True) + 1e-9)
    before = before / (np.linalg.norm(before, axis=1, keepdims=True) + 1e-9)
    along = after + before
    length = np.linalg.norm(along, axis=1, keepdims=True)
    along = along / (length + 1e-9)
    normal = np.stack([along[:, 1], -along[:, 0]], 1)
    x, y = points.T
    if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0:
        normal = -normal
    # A sharp corner needs a longer way out to keep the line's width, up to a limit.
    return points + normal * by * np.minimum(2.2, 2 / (length + 1e-3))


class Pen:
    """Draws polygons on a square picture; the frame maps local coordinates to the picture."""

    def __init__(self, side: int, style: str) -> None:
        self.side = side
        self.look = LOOKS[style]
        self.fill = self.look.fill
        self.image = Image.new("RGB", (side, side), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.frame(0.5, 0.5, 0.5)
        self.line_width = self.look.scene_width

    def frame(self, x: float, y: float, scale: float, angle: float = 0.0) -> None:
        """Put the local origin at (x, y) of the picture (0..1); one local unit is `scale`."""
        cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
        self.matrix = np.array([[cosine, sine], [-sine, cosine]]) * self.side
        self.origin = np.array([x, y]) * self.side

    @contextmanager
    def scenery(self) -> Generator[None]:
        """Fill as the style fills the scene, not the object, for the time of a with block."""
        self.fill = self.look.scene_fill
        yield
        self.fill = self.look.fill

    def _pixels(self, points: Points) -> Points:
        return points @ self.matrix + self.origin

    def shape(
        self,
        points: Points | Sequence[tuple[float, float]],
        colour: RGB,
        line: float = 1.0,
        draw: ImageDraw.ImageDraw | None = None,
    ) -> None:
        """Fill one polygon, outlined `line` times as thick as the style says."""
        self.union([np.asarray(points, float)], colour, line)

    def flood(self, colour: RGB, top: float = -0.1) -> None:
        """Fill the whole picture from this height down; the frame must be the picture itself."""
        self.shape(box(-0.1, top, 1.1, 1.1), colour)

    def union(self, shapes: Sequence[Points], colour: RGB, line: float = 1.0) -> None:
        """Fill polygons as one figure, with an outline around the whole."""
        pixels = [self._pixels(points) for points in shapes]
        width = self.line_width * line * self.side
        if width > 0:
            ink = self.look.line(colour)
            for polygon in pixels:
                self.draw.polygon(_grown(polygon, width).ravel().tolist(), fill=ink)
        fill = self.fill(colour)
        for polygon in pixels:
            self.draw.polygon(polygon.ravel().tolist(), fill=fill)

    def ink(self, points: Points, colour: RGB) -> None:
        """Fill one polygon with exactly this colour, without an outline."""
        self.draw.polygon(self._pixels(points).ravel().tolist(), fill=colour)

    def mask(self, shapes: Sequence[Points]) -> Image.Image:
        """Return the polygons' area as a picture of one channel, 0 or 255."""
        area = Image.new("L", (self.side, self.side), 0)
        draw = ImageDraw.Draw(area)
        for points in shapes:
            draw.polygon(self._pixels(points).ravel().tolist(), fill=255)
        return area

    def pattern(self, area: Image.Image, shapes: Sequence[Points], colour: RGB) -> None:
        """Fill the polygons, but only where the area is set."""
        self.image.paste(self.fill(colour), mask=ImageChops.multiply(area, self.mask(shapes)))

    def shade(self, area: Image.Image) -> None:
        """Darken the area towards the lower right, in styles that have light."""
        if self.look.shaded:
            ramp = Image.linear_gradient("L").rotate(25, expand=False).resize(area.size)
            ramp = ramp.point([max(0, value - 110) // 2 for value in range(256)])
            self.image.paste((15, 10, 30), mask=ImageChops.multiply(area, ramp))

    def water(self, points: Points, colour: RGB, opacity: float) -> None:
        """Lay a translucent polygon over what is drawn."""
        area = self.mask([points]).point([0] * 255 + [round(255 * opacity)])
        self.image.paste(self.fill(colour), mask=area)

    def finish(self, side: int) -> Image.Image:
        """Return the picture reduced to this side, in squares if the style is made of them."""
        if not self.look.cells:
            return self.image.reduce(self.side // side)
        step = 255 / (SHADES - 1)
        shades = [round(round(value / step) * step) for value in range(256)]
        small = self.image.resize((self.look.cells, self.look.cells), Image.Resampling.BOX)
        return small.point(shades * 3).resize((side, side), Image.Resampling.NEAREST)
