"""Differences with intervals as cells of a table and as sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from textreg.evaluate.decisions import UNDECIDED

NAMES = {
    "drift class": "class prompt",
    "drift class_elsewhere": "class elsewhere",
    "drift neighbour": "neighbour nouns",
    "drift general": "other prompts",
    "drift null": "empty prompt",
    "fidelity": "fidelity",
    "editability": "edits",
}
"""What a metric is called; drift is in % of what the prompt does."""
_HEADS = {
    "less": "**less**",
    "more": "**more**",
    "equal": "no difference",
    UNDECIDED: UNDECIDED,
}
POOLS = ("class", "class_elsewhere", "neighbour", "general", "null")


def number(value: float, percent: bool, *, sign: bool = False) -> str:
    """A number as the page has it; drift in percent, of two decimals, all else of three."""
    # Nine digits first: a mean's last bits are the processor's own, and may decide a 5.
    value = float(f"{100 * value if percent else value:.9g}")
    plus = "+" if sign else ""
    digits = 2 if percent else 3
    if 0 < abs(value) < 0.5 * 10**-digits:
        return f"{value:{plus}.0e}"
    return f"{value:{plus}.0f}" if abs(value) >= 100 else f"{value:{plus}.{digits}f}"


def is_percent(metric: str) -> bool:
    """Whether a metric is shown in percent."""
    return metric.startswith("drift")


def difference(found: Mapping[str, Any], percent: bool) -> str:
    """A difference, its interval and what is decided: -1.20 [-1.50, -.90] **less**."""
    value = number(found["value"], percent, sign=True)
    verdict = found["verdict"]
    if verdict == "equal":
        return "0 equal"
    word = UNDECIDED if verdict == UNDECIDED else f"**{verdict}**"
    return f"{value}{interval(found, percent)} {word}"


def interval(found: Mapping[str, Any], percent: bool) -> str:
    """The interval in brackets; nothing where none is known, of a single cell."""
    low, high = found["interval"]
    if low == high:
        return ""
    return f" [{number(low, percent, sign=True)}, {number(high, percent, sign=True)}]"


def by_verdict(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Who is decided to have less, more or as much, and who is not: a sentence without its head."""
    words: list[str] = []
    for verdict, head in _HEADS.items():
        labels = [f"*{label}*" for label, one in found.items() if one["verdict"] == verdict]
        if labels:
            words.append(f"{head} for {listed(labels)}")
    return "; ".join(words) + "."


def counted(found: Iterable[Mapping[str, Any]]) -> str:
    """How often each verdict fell: less 4, undecided 2."""
    verdicts = [one["verdict"] for one in found]
    counts = {v: verdicts.count(v) for v in ("less", "more", "equal", UNDECIDED)}
    return ", ".join(f"{word} {count}" for word, count in counts.items() if count)


def listed(words: list[str]) -> str:
    """Words joined by commas, the last by "and"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def many(things: Collection[object], noun: str) -> str:
    """3 cells, 1 cell."""
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
