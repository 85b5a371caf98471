"""The numbers of a row as the page shows them: value, interval, what to hold it against."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from textreg.evaluate.decisions import DRIFT_MARGIN
from textreg.evaluate.verdict import share

_POOLS = {
    "class": "the class prompt",
    "class_elsewhere": "the class in held-out prompts",
    "neighbour": "other nouns",
    "general": "general prompts",
    "null": "the empty prompt",
}
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


def number_groups(row: dict[str, Any], num_images: int) -> list[tuple[str, str, list[Number]]]:
    """(heading, what it is about, lines)."""
    features = row["fidelity"]["features"]
    return [
        (
            "Drift of the prediction",
            "How far the predicted noise moved, as a share of what the prompt itself does to it. "
            "Both models see the same noisy picture, so there is no sampling noise.",
            [_epsilon(row, pool) for pool in _POOLS],
        ),
        (
            f"The class, in {num_images} pictures a side",
            f"Pictures of the class prompt by base and tuned model, same seeds, seen by "
            f"{features}. "
            "The floor is what the base differs from itself with other seeds.",
            _class_lines(row),
        ),
        (
            "The concept",
            f"Likeness to the photos, seen by {features}; edits, seen by "
            f"{row['editability'].get('features') or 'nobody'}.",
            _concept_lines(row),
        ),
        (
            "The new word in the text encoder",
            "Before any picture is drawn: what the identifier means, and how far it is heard.",
            _identifier_lines(row["drift"]["identifier"]),
        ),
    ]


def _epsilon(row: dict[str, Any], pool: str) -> Number:
    drift = row["drift"]
    found = drift["epsilon_shares"][pool]
    low, high = found["interval"]
    return Number(
        title=_POOLS[pool],
        meaning=f"mean squared change {drift['epsilon'][pool]:.2g} a latent number",
        value=share(found["value"]),
        interval=f"{share(low)} to {share(high)}",
        against=f"held below {share(DRIFT_MARGIN)}",
        bar=_bar(found["value"], found["interval"], DRIFT_MARGIN, (1e-4, 3.0), logarithmic=True),
        verdict=found["verdict"],
    )


def _class_lines(row: dict[str, Any]) -> list[Number]:
    found = row["drift"]["class"]
    lines: list[Number] = []
    for name, title, meaning, times in (
        ("kid", "KID x 1000", "unbiased kernel distance of the two sets; 0: no difference", 1000),
        ("cmmd", "CMMD", "Gaussian kernel distance; above 0 even for equal models", 1),
    ):
        if name in found:
            floor = found[name]["floor"]
            values = [times * x for x in (found[name]["value"], *found[name]["interval"])]
            lines.append(
                _line(
                    title,
                    meaning,
                    values,
                    _three,
                    f"floor {_three(times * floor['value'])}, at most "
                    f"{_three(times * floor['interval'][1])}; other nouns "
                    f"{_three(times * found[name]['scale']['value'])}",
                    times * floor["interval"][1],
                    found[name]["verdict"],
                )
            )
    for name, title, meaning in (
        ("vendi", "Vendi score", "effective number of different pictures"),
        ("diversity", "diversity", "mean distance of two pictures, 1 - cosine"),
    ):
        if name in found:
            of = found[name]
            lines.append(
                _line(
                    f"{title}, tuned / base",
                    f"{meaning}: {of['value']:.3g}, base {of['base']:.3g}",
                    [of["ratio"]["value"], *of["ratio"]["interval"]],
                    lambda x: f"{x:.2f}",
                    "1: as diverse as before",
                    1.0,
                    of["verdict"],
                )
            )
    if "judged" in found:
        lines.append(_against_base("still read as the noun", "share of pictures", found["judged"]))
    lines.append(
        _against_base(
            "likeness of class pictures to the photos",
            "PRES; rises when the class becomes the concept",
            found["likeness"],
            _three,
        )
    )
    if "judged" in row["drift"]["neighbour"]:
        lines.append(
            _against_base(
                "other nouns still read as such",
                "share of neighbour pictures",
                row["drift"]["neighbour"]["judged"],
            )
        )
    return lines


def _concept_lines(row: dict[str, Any]) -> list[Number]:
    fidelity, edits = row["fidelity"], row["editability"]
    photos = fidelity["photos"]
    lines = [
        _line(
            "fidelity",
            "mean cosine of concept pictures and photos"
            + (f"; the photos among themselves {photos:.3f}" if photos is not None else ""),
            [fidelity["score"], *fidelity["interval"]],
            _three,
            f"any {row['noun']}: {fidelity['base']:.3f}",
            fidelity["base"],
            fidelity["verdict"],
        )
    ]
    if edits["score"] is not None:
        say = share if edits["kind"].startswith("share") else _three
        lines.append(
            _line(
                "editability",
                f"held-out edits, {edits['kind']}",
                [edits["score"], *edits["interval"]],
                say,
                f"base, any {row['noun']}: {say(edits['base'])}",
                edits["base"],
                edits["verdict"],
            )
        )
    return lines


def _identifier_lines(found: dict[str, Any]) -> list[Number]:
    lines = [
        _line(
            "text-text drift",
            "cosine of the prompt with and without the identifier; 1: it adds nothing",
            [found["text"]["value"], *found["text"]["interval"]],
            _three,
            f"another noun in its place: {found['neighbour']['value']:.3f}",
            found["neighbour"]["value"],
            None,
        )
    ]
    for name, title, meaning in (
        ("leakage", "leakage", "change of later rows when another word stands in its place"),
        ("attention", "attention", "share of later rows' attention that it gets"),
    ):
        masked = found[name]["masked"]["value"]
        own = found[name]["unmasked"]
        lines.append(
            _line(
                title,
                meaning,
                [own["value"], *own["interval"]],
                share,
                f"under the mask: {share(masked)}",
                masked,
                None,
            )
        )
    return lines


def _against_base(title: str, meaning: str, found: dict[str, Any], say: Say = share) -> Number:
    low, high = found["difference"]["interval"]
    sign = "+" if found["difference"]["value"] >= 0 else ""
    return _line(
        title,
        f"{meaning}; change {sign}{say(found['difference']['value'])} ({say(low)} to {say(high)})",
        [found["value"], *found["interval"]],
        say,
        f"base: {say(found['base'])}",
        found["base"],
        found["verdict"],
    )


def _line(
    title: str,
    meaning: str,
    values: Sequence[float],
    say: Say,
    against: str,
    mark: float,
    verdict: str | None,
) -> Number:
    value, low, high = values
    # Never so near that rounding looks like a difference.
    space = max(0.25 * (max(high, mark) - min(low, mark)), 0.03 * max(abs(value), abs(mark)), 1e-6)
    scale = (min(low, mark) - space, max(high, mark) + space)
    return Number(
        title=title,
        meaning=meaning,
        value=say(value),
        interval=f"{say(low)} to {say(high)}",
        against=against,
        bar=_bar(value, (low, high), mark, scale),
        verdict=verdict,
    )


def _bar(
    value: float,
    interval: Sequence[float],
    mark: float,
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
        low=place(interval[0]), high=place(interval[1]), value=place(value), mark=place(mark)
    )


def _three(value: float) -> str:
    # Adding 0 turns a rounded -0.000 into 0.000.
    return f"{round(value, 3) + 0:.3f}" if abs(value) < 10 else f"{value:.0f}"
