"""What is said of TextReg, and whether the study holds it up: a table of docs/study.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from marked_page import table
from results import Found, Part
from wording import NAMES, difference, is_percent

from textreg.evaluate.decisions import UNDECIDED

_POOLS = ("drift class", "drift class_elsewhere", "drift neighbour", "drift general")


@dataclass(frozen=True, kw_only=True)
class _Claim:
    words: str
    against: str
    """Setting `prior` of the rival."""
    equal: str
    metrics: Sequence[str]
    wanted: str
    """The verdict that says so by itself: less drift, more fidelity."""
    alike: bool = False
    """Whether "equal" says so as well."""


CLAIMS = (
    _Claim(
        words="text alone drifts less than class images, at equal steps",
        against="class-images",
        equal="steps",
        metrics=(*_POOLS, "drift null"),
        wanted="less",
    ),
    _Claim(
        words="and at equal fidelity",
        against="class-images",
        equal="fidelity",
        metrics=_POOLS,
        wanted="less",
    ),
    _Claim(
        words="it drifts less than weight decay, at equal fidelity",
        against="weight-decay",
        equal="fidelity",
        metrics=_POOLS,
        wanted="less",
    ),
    _Claim(
        words="it is as faithful to the photos as class images, at equal steps",
        against="class-images",
        equal="steps",
        metrics=("fidelity",),
        wanted="more",
        alike=True,
    ),
    _Claim(
        words="edits are followed better than without a prior",
        against="none",
        equal="steps",
        metrics=("editability",),
        wanted="more",
    ),
)


def claims(part: Part, labels: Sequence[str]) -> str:
    """Each claim for each of these rows: held, failed or undecided, and by how much.

    Failed: the opposite is decided, or for "less" and "more" no difference.
    """
    rows: list[list[str]] = []
    own = [label for label in labels if label in part.settings]
    for claim in CLAIMS:
        (rival,) = part.alone(claim.against)[:1] or [None]
        for metric in claim.metrics if rival is not None else ():
            cells = [
                _cell(claim, _found(part, claim, label, rival, metric), metric) for label in own
            ]
            rows.append([claim.words, NAMES[metric], *cells])
    return table(["claim", "of", *own], rows)


def _found(part: Part, claim: _Claim, label: str, rival: str, metric: str) -> Found | None:
    if claim.equal == "fidelity":
        return part.at_equal_fidelity(label, rival, metric.removeprefix("drift "))
    return part.against("steps", label, rival, metric) if part.has(metric) else None


def _cell(claim: _Claim, found: Found | None, metric: str) -> str:
    if found is None:
        return "not measured"
    verdict = found["verdict"]
    said = (
        "held" if verdict == claim.wanted or (claim.alike and verdict == "equal") else "**failed**"
    )
    said = UNDECIDED if verdict == UNDECIDED else said
    shown = difference(found, is_percent(metric)).rsplit(" ", 1)[0]
    return f"{said}: {shown}"
