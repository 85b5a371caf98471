"""What an interval decides, and that it sometimes decides nothing.

Each comparison has a margin, below which a difference is of no account. Where the interval lies
on neither side of it, the answer is "undecided": more pictures would tell.
"""

from __future__ import annotations

import itertools

from textreg.evaluate.intervals import Measured, unseen_rate

UNDECIDED = "undecided"
LEAST = 8
"""Pictures, or prompts of epsilon-drift: resamples of fewer are too alike to decide anything."""
LEAST_DIFFERENT = 6
"""Different prompts of a pool of epsilon-drift: six of one sign are the fewest that a sign test at
.05 tells from chance (2 / 2^6 = .03; of five .06)."""

DRIFT_MARGIN = 0.01
"""Epsilon-drift, as a share of what the prompt itself does to the prediction."""
SCALE_SHARE = 0.05
"""A sampled distance, as a share of that between pictures of the class and of other nouns."""
DIVERSITY_MARGIN = 0.1
"""Loss of diversity, as a share of the base's."""
SHARE_MARGIN = 0.15
"""Loss in a share of pictures; the default's 24 alike can just tell it from none."""
SIMILARITY_MARGIN = 0.01
"""Loss in a cosine of text and picture."""
LEAST_KEPT = next(n for n in itertools.count(LEAST) if unseen_rate(n) < SHARE_MARGIN)
"""Fewest pictures that can show a share to be kept, if they are alike in both models."""


def drifted(share: Measured) -> str:
    """Epsilon-drift against its margin: held or moved."""
    if share.high < DRIFT_MARGIN:
        return "held"
    return "moved" if share.low > DRIFT_MARGIN else UNDECIDED


def moved_beyond_floor(distance: Measured, excess: Measured, scale: Measured | None) -> str:
    """A sampled distance of tuned from base pictures: held or moved.

    Held: surely a small share of what another noun would be, even if it is surely not 0. Moved:
    above 0, and above the floor, that of the base from itself. The fewer the pictures, the wider
    all three intervals, and the less of either is sure (docs/decisions/0073).

    Args:
        distance: unbiased, 0 on average for equal models.
        excess: the same minus the floor.
        scale: the same between the base's pictures of the class and of its neighbours; none: of
            too few pictures, and nothing is decided.
    """
    if scale is None:
        return UNDECIDED
    if distance.high < SCALE_SHARE * scale.low:
        return "held"
    return "moved" if distance.low > 0 and excess.low > 0 else UNDECIDED


def kept(difference: Measured, margin: float) -> str:
    """Tuned minus base of something that is better when larger: kept or lost."""
    if difference.low > -margin:
        return "kept"
    return "lost" if difference.high < 0 else UNDECIDED


def kept_share(difference: Measured, count: int) -> str:
    """As `kept`, for a share of pictures, the difference of each -1, 0 or 1.

    Resamples of a few pictures that are nearly all alike are as alike, and their interval is too
    narrow, or a point; it counts as no narrower than what `count` pictures cannot have seen.
    """
    unseen = unseen_rate(count)
    wide = Measured(
        value=difference.value,
        low=min(difference.low, difference.value - unseen),
        high=max(difference.high, difference.value + unseen),
    )
    return with_enough(kept(wide, SHARE_MARGIN), count)


def with_enough(verdict: str, count: int) -> str:
    """The verdict, if it is of enough pictures or prompts to be one."""
    return verdict if count >= LEAST else UNDECIDED


def gained(difference: Measured) -> str:
    """Concept minus any member of its class: learned or not."""
    if difference.low > 0:
        return "learned"
    return "not learned" if difference.high <= 0 else UNDECIDED


def pulled(difference: Measured, margin: float) -> str:
    """Class pictures' likeness to the photos, tuned minus base: held or moved."""
    if difference.high < margin:
        return "held"
    return "moved" if difference.low > 0 else UNDECIDED
