import pytest

from textreg.compare.summary import POOLS
from textreg.evaluate.verdict import answers, share, tone, verdict


def row(**changes: str) -> dict:
    """A row whose answers are as named."""
    words = {"fidelity": "learned", "class": "held", "null": "held", "edits": "kept"} | changes

    def drift(pool: str) -> dict:
        return {"value": 0.2, "interval": [0.1, 0.3], "verdict": words.get(pool, "held")}

    return {
        "noun": "cat",
        "fidelity": {
            "score": 0.8,
            "interval": [0.7, 0.9],
            "base": 0.5,
            "verdict": words["fidelity"],
        },
        "editability": {
            "score": 0.9,
            "interval": [0.8, 1.0],
            "base": 1.0,
            "kind": "share of pictures",
            "verdict": words["edits"],
        },
        "drift": {"epsilon_shares": {pool: drift(pool) for pool in POOLS}},
    }


def test_all_is_well() -> None:
    assert verdict(row()) == (
        "The concept was learned, any other cat is still what it was, other prompts held, and "
        "prompts are followed as before."
    )
    assert [answer.tone for answer in answers(row())] == ["good"] * 4


def test_what_went_wrong_is_said_with_its_size() -> None:
    said = verdict(row(**{"class": "moved"}, general="moved", edits="lost"))
    assert said == (
        "The concept was learned, any other cat moved, by up to 20% of what its prompts do, "
        "other prompts moved, by up to 20% of what they do, and prompts are followed less than "
        "before (90%, base 100%)."
    )


def test_undecided_is_no_winner() -> None:
    undecided = row(**dict.fromkeys(("fidelity", "class", "neighbour", "edits"), "undecided"))
    assert verdict(undecided).count("undecided") == 4
    assert [answer.tone for answer in answers(undecided)] == ["open"] * 4
    # Held where it is pinned is not held everywhere.
    elsewhere = answers(row(class_elsewhere="moved"))[1]
    assert elsewhere.verdict == "moved"
    assert "its own prompt 20%, held-out prompts 20%" in elsewhere.detail
    plain = "the plain cat is still what it was, "
    assert elsewhere.sentence == f"{plain}in other prompts it moved by 20% of what they do"
    unsure = answers(row(class_elsewhere="undecided"))[1].sentence
    assert unsure == f"{plain}whether it moved in other prompts is undecided"
    # One pool that moved outweighs one that is undecided.
    both = row(neighbour="undecided", null="moved")
    both["drift"]["epsilon_shares"]["neighbour"]["value"] = 0.5
    assert answers(both)[2].verdict == "moved"
    assert answers(both)[2].sentence.endswith("by up to 20% of what they do")


def test_without_a_reader_nothing_is_said_of_edits() -> None:
    blind = row() | {"editability": {"score": None, "why": "..."}}
    assert len(answers(blind)) == 3
    assert "followed" not in verdict(blind)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0%"), (3e-12, "0%"), (0.0005, "0.050%"), (0.093, "9.3%"), (1.64, "164%")],
)
def test_shares(value: float, text: str) -> None:
    assert share(value) == text


def test_tones() -> None:
    assert [tone(v) for v in ("kept", "lost", "undecided", None)] == [
        "good",
        "bad",
        "open",
        "plain",
    ]
