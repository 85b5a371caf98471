"""The best state on the front of fidelity and drift: which one, and where it lies.

    gain(k) = L(0) - L(k)   L: denoising loss of fixed draws of the concept's own pictures
    best    = the least drift among the states with gain(k) >= 0.95 max gain

front.json    every look, and the step that is best        best/    the concept as of that step
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from textreg.checkpoint import publish
from textreg.errors import UserError

BEST = "best"
FRONT_FILE = "front.json"
LOOKS = 10
"""How often stage 2 is looked at after its start, the last step among them."""
_SHARE = 0.95
"""Share of the largest gain that is as good as all of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One state as it was seen."""

    step: int
    """Of stage 2."""
    loss: float
    drift: float
    """Text shift, mean over the prompt pools."""


def look_steps(steps: int) -> list[int]:
    """The steps of stage 2 that are looked at, the start and the end among them."""
    return sorted({round(n * steps / LOOKS) for n in range(LOOKS + 1)}) if steps else []


def best_of(looks: Sequence[Look]) -> Look:
    """The least drift among those with about the largest gain; the start, if nothing was gained.

    Of equal drift, as under a constraint, the one with the larger gain.
    """
    return min(_good(looks), key=lambda look: (look.drift, look.loss))


def still_open(looks: Sequence[Look]) -> list[Look]:
    """Those that may yet be the best; the others are beaten whatever is to come."""
    return [
        look
        for look in _good(looks)
        if not any(
            other.drift <= look.drift
            and other.loss <= look.loss
            and (other.drift, other.loss) != (look.drift, look.loss)
            for other in looks
        )
    ]


def _good(looks: Sequence[Look]) -> list[Look]:
    gains = [looks[0].loss - look.loss for look in looks]
    enough = _SHARE * max(gains)
    return [look for look, gain in zip(looks, gains, strict=True) if gain >= enough]


def whole(looks: Sequence[Look]) -> list[Look]:
    """Those with finite numbers; none, if the start is not among them."""
    found = [look for look in looks if math.isfinite(look.loss) and math.isfinite(look.drift)]
    return found if found[:1] == list(looks[:1]) else []


def write_front(folder: Path, looks: Sequence[Look], steps: int) -> None:
    """Write front.json of one concept."""
    content = {
        "best": best_of(looks).step,
        "steps": steps,
        "looks": [asdict(look) for look in looks],
    }
    publish(folder / FRONT_FILE, json.dumps(content, indent=2).encode())


def best_step(folder: Path) -> tuple[int, int] | None:
    """The best step of stage 2 and how many there were; none: nobody looked.

    Args:
        folder: a concept's.

    Raises:
        UserError: front.json is damaged.
    """
    path = folder / FRONT_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return int(content["best"]), int(content["steps"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: is damaged; delete it to go on without it") from None


def best_line(folder: Path) -> str | None:
    """What a user is told of a finished concept's best state."""
    found = best_step(folder)
    if found is None:
        return None
    best, steps = found
    where = "the last" if best == steps else f"in {folder / BEST}"
    return f"best on the front: step {best} of {steps}, {where}"
