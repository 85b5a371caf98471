"""What the page holds a number against is what decided."""

from typing import Any

import pytest

from textreg.evaluate.page_line import Number
from textreg.evaluate.page_numbers import _class_lines


def number(value: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"value": value, "interval": [low, high]} | more


LIKENESS = number(0.5, 0.4, 0.6, base=0.5, difference=number(0, 0, 0), verdict="held")


def distances(scale: dict[str, Any] | None) -> dict[str, Number]:
    of = {"floor": number(0.5, 0.4, 0.7), "scale": scale, "verdict": "undecided"}
    kid = number(0.02, 0.01, 0.03, unbiased=number(0.02, 0.01, 0.03)) | of
    cmmd = number(0.9, 0.8, 1.1, unbiased=number(0.3, 0.2, 0.4)) | of
    lines = _class_lines({"kid": kid, "cmmd": cmmd, "likeness": LIKENESS}, {})
    return {line.title: line for line in lines}


def test_distances_stand_against_a_share_of_the_scales_lower_end() -> None:
    found = distances(number(10.0, 8.0, 12.0))
    cmmd = found["CMMD"]
    # Without pairs of equal pictures, as the verdict takes it; the published one beside it.
    assert (cmmd.value, cmmd.interval) == ("0.300", "0.200 to 0.400")
    assert "as published, with them: 0.900 (0.800 to 1.100)" in cmmd.meaning
    assert cmmd.against == (
        "held below 0.400, 5% of other nouns' 8.000 at least (10); floor of the published one "
        "0.500, at most 0.700"
    )
    assert cmmd.bar is not None
    assert cmmd.bar.mark == pytest.approx(cmmd.bar.high)
    kid = found["KID x 1000"]
    assert (kid.value, kid.interval) == ("20", "10 to 30")
    assert kid.against.startswith("held below 400, 5% of other nouns' 8000 at least (10000); floor")


@pytest.mark.parametrize(
    ("scale", "why"),
    [
        (None, "too few pictures of other nouns for a scale"),
        (number(0.1, -0.1, 0.3), "no scale: other nouns look like the class"),
    ],
)
def test_without_a_scale_there_is_nothing_to_hold_it_against(
    scale: dict[str, Any] | None, why: str
) -> None:
    line = distances(scale)["CMMD"]
    assert line.against == f"{why}; floor of the published one 0.500, at most 0.700"
    assert line.bar is not None
    assert line.bar.mark is None
    assert line.bar.low < line.bar.value < line.bar.high


def test_other_nouns_say_how_many_pictures_they_have() -> None:
    judged = number(1.0, 0.6, 1.0, base=1.0, difference=number(0, -0.4, 0.4), pictures=7)
    lines = _class_lines({"likeness": LIKENESS}, {"judged": judged | {"verdict": "undecided"}})
    assert lines[-1].title == "other nouns still read as such"
    assert lines[-1].meaning.startswith("share of 7 neighbour pictures a side; change")
