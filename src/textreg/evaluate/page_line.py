"""One line of the page's tables: a value, its interval, and both on a scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Say = Callable[[float], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """An interval on a scale, everything in percent of its length."""

    low: float
    high: float
    value: float
    mark: float | None
    """What it is held against."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """One line of the table."""

    title: str
    meaning: str
    value: str
    interval: str
    against: str
    """What to hold it against, in words."""
    bar: Bar | None
    verdict: str | None


def line(
    title: str,
    meaning: str,
    values: Sequence[float],
    say: Say,
    against: str,
    mark: float | None,
    verdict: str | None,
) -> Number:
    """A line whose scale is as long as its numbers need.

    Args:
        title: what the number is called.
        meaning: what it is.
        values: the value, and the two ends of its interval.
        say: a number in words.
        against: what to hold it against, in words.
        mark: the same as a number; none: there is nothing.
        verdict: what was decided; none: nothing is to be.
    """
    value, low, high = values
    marks = [] if mark is None else [mark]
    first, last = min([low, *marks]), max([high, *marks])
    # Never so near that rounding looks like a difference.
    space = max(0.25 * (last - first), 0.03 * max(abs(x) for x in (value, *marks)), 1e-6)
    scale = (first - space, last + space)
    return Number(
        title=title,
        meaning=meaning,
        value=say(value),
        interval=f"{say(low)} to {say(high)}",
        against=against,
        bar=bar(value, (low, high), mark, scale),
        verdict=verdict,
    )


def bar(
    value: float,
    interval: Sequence[float],
    mark: float | None,
    scale: tuple[float, float],
    *,
    logarithmic: bool = False,
) -> Bar:
    """Positions on a scale, cut off at its ends."""

    def place(x: float) -> float:
        low, high = scale
        if logarithmic:
            x, low, high = (math.log(max(n, 1e-12)) for n in (x, low, high))
        return 100 * min(max((x - low) / (high - low), 0.0), 1.0)

    return Bar(
        low=place(interval[0]),
        high=place(interval[1]),
        value=place(value),
        mark=None if mark is None else place(mark),
    )


def three(value: float) -> str:
    """Three decimals, of a large number none."""
    # Adding 0 turns a rounded -0.000 into 0.000.
    return f"{round(value, 3) + 0:.3f}" if abs(value) < 10 else f"{value:.0f}"
