"""An object as shapes in a local frame, and how they are laid on a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .attributes import COLOURS
from .pen import ellipse, mix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from .attributes import RGB, Picture
    from .pen import Pen, Points


class Anchors(NamedTuple):
    """Where accessories go: (x, y, half width) in local units."""

    hat: tuple[float, float, float]
    """Middle of the hat's lower edge."""
    eyes: tuple[float, float, float]
    """Middle between the lenses; half width is a lens's radius."""
    neck: tuple[float, float, float]


class Part(NamedTuple):
    """A polygon that is not of the body colour."""

    points: Points
    role: str
    colour: RGB
    line: float


@dataclass(slots=True)
class Figure:
    """An object in local units: about -1..1 both ways, y down."""

    anchors: Anchors
    bodies: list[Points] = field(default_factory=list)
    behind: list[Part] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    marks: list[Points] = field(default_factory=list)
    """Stripes; they show only where the body does."""

    def body(self, points: Points | Sequence[tuple[float, float]]) -> None:
        """Add a polygon to the silhouette in the main colour."""
        self.bodies.append(np.asarray(points, float))

    def _add(
        self,
        points: Points | Sequence[tuple[float, float]],
        role: str,
        colour: RGB,
        line: float,
        behind: bool,
    ) -> None:
        part = Part(np.asarray(points, float), role, colour, line)
        (self.behind if behind else self.parts).append(part)

    def light(
        self,
        points: Points | Sequence[tuple[float, float]],
        line: float = 1.0,
        behind: bool = False,
    ) -> None:
        """Add a polygon in a light tint of the main colour: a belly, a lid, a pocket."""
        self._add(points, "light", (0, 0, 0), line, behind)

    def accent(
        self,
        points: Points | Sequence[tuple[float, float]],
        line: float = 1.0,
        behind: bool = False,
    ) -> None:
        """Add a polygon in the accent colour: ears, a handle, straps."""
        self._add(points, "accent", (0, 0, 0), line, behind)

    def detail(
        self,
        points: Points | Sequence[tuple[float, float]],
        colour: RGB,
        line: float = 1.0,
        behind: bool = False,
    ) -> None:
        """Add a polygon in a colour of its own, the same for every picture."""
        self._add(points, "detail", colour, line, behind)


def _spots(bodies: list[Points], random: Random) -> list[Points]:
    corners = np.concatenate(bodies)
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    spots = []
    for row, y in enumerate(np.arange(top + 0.12, bottom, 0.34)):
        for x in np.arange(left + (0.1 if row % 2 else 0.28), right, 0.37):
            size = random.uniform(0.09, 0.12)
            spots.append(ellipse(x + random.uniform(-0.04, 0.04), y, size, size, corners=12))
    return spots


def draw_figure(pen: Pen, figure: Figure, picture: Picture, random: Random) -> None:
    """Draw the figure in the pen's frame, in the picture's colours and marking."""
    body, accent = COLOURS[picture.colour], COLOURS[picture.accent]
    # A white body has no lighter tint; its light parts are a cool shade instead.
    light = mix(body, (252, 250, 246), 0.68) if picture.colour != "white" else (206, 212, 222)

    def lay(parts: list[Part]) -> None:
        for part in parts:
            colour = {"light": light, "accent": accent}.get(part.role, part.colour)
            pen.union([part.points], colour, part.line)

    lay(figure.behind)
    pen.union(figure.bodies, body)
    area = pen.mask(figure.bodies)
    if picture.marking == "striped":
        pen.pattern(area, figure.marks, accent)
    elif picture.marking == "spotted":
        pen.pattern(area, _spots(figure.bodies, random), accent)
    pen.shade(area)
    lay(figure.parts)
