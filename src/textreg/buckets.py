"""Shapes of views: a square, or the aspect bucket nearest to the picture's own shape."""

from __future__ import annotations

import math


def buckets(resolution: int, step: int) -> list[tuple[int, int]]:
    """The (width, height) of every bucket, as kohya's tools and SDXL have them.

    Sides are multiples of `step` from half to twice the resolution; each bucket is the largest of
    its width whose area is at most resolution^2, and so is its mirror.

    Args:
        resolution: Side of the square whose area none exceeds, a multiple of `step`.
        step: Pixels.
    """
    found = {(resolution, resolution)}
    for short in range(step * math.ceil(resolution / (2 * step)), resolution, step):
        long = min(resolution**2 // short, 2 * resolution) // step * step
        found |= {(short, long), (long, short)}
    return sorted(found)


def bucket(width: int, height: int, resolution: int, step: int) -> tuple[int, int]:
    """The bucket whose aspect ratio is nearest to a picture's, on a logarithmic scale."""
    ratio = math.log(width / height)
    return min(
        buckets(resolution, step),
        key=lambda shape: (abs(math.log(shape[0] / shape[1]) - ratio), shape),
    )
