"""What a row of the report says, in a sentence and in three answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textreg.evaluate.decisions import UNDECIDED

GOOD = ("held", "learned", "kept")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One of the questions a person has."""

    question: str
    verdict: str
    """held or moved, learned or not learned, kept or lost, or undecided."""
    sentence: str
    figure: str
    """The number that decides."""
    detail: str
    """What that number is, and its interval."""

    @property
    def tone(self) -> str:
        """good, bad or open, for colour."""
        return tone(self.verdict)


def tone(verdict: str | None) -> str:
    """Good, bad or open; plain where nothing is to be decided."""
    if verdict is None:
        return "plain"
    return "good" if verdict in GOOD else "open" if verdict == UNDECIDED else "bad"


def answers(row: dict[str, Any]) -> list[Answer]:
    """Was it learned, did the class hold, did the rest, are prompts followed."""
    noun, drift = row["noun"], row["drift"]["epsilon_shares"]
    found = [_learned(noun, row["fidelity"]), _held(noun, drift), _rest(drift)]
    if row["editability"]["score"] is not None:
        found.append(_followed(row["editability"]))
    return found


def verdict(row: dict[str, Any]) -> str:
    """All answers as one sentence."""
    *first, last = [answer.sentence for answer in answers(row)]
    text = f"{', '.join(first)}, and {last}."
    return text[0].upper() + text[1:]


def share(value: float) -> str:
    """A share as a percentage of two digits."""
    percent = 100 * value
    if abs(percent) < 0.001:
        return "0%"
    if abs(percent) < 0.1:
        return f"{percent:.3f}%"
    return f"{percent:.1f}%" if abs(percent) < 10 else f"{percent:.0f}%"


def _learned(noun: str, fidelity: dict[str, Any]) -> Answer:
    sentence = {
        "learned": "the concept was learned",
        "not learned": "the concept was not learned",
        UNDECIDED: "whether the concept was learned is undecided",
    }[fidelity["verdict"]]
    low, high = fidelity["interval"]
    return Answer(
        question="Learned?",
        verdict=fidelity["verdict"],
        sentence=sentence,
        figure=f"{fidelity['score']:.2f}",
        detail=f"likeness to the photos ({low:.2f} to {high:.2f}); any {noun}: "
        f"{fidelity['base']:.2f}",
    )


def _held(noun: str, drift: dict[str, Any]) -> Answer:
    """The class in its own prompt, which a prior may pin, and in others, which none saw."""
    pools = {"its own prompt": "class", "held-out prompts": "class_elsewhere"}
    sentences = {
        "held": f"any other {noun} is still what it was",
        "moved": f"any other {noun} moved, by up to {{most}} of what its prompts do",
        UNDECIDED: f"whether any other {noun} moved is undecided",
    }
    if drift["class"]["verdict"] == "held":
        plain = f"the plain {noun} is still what it was, "
        sentences |= {
            "moved": f"{plain}in other prompts it moved by {{most}} of what they do",
            UNDECIDED: f"{plain}whether it moved in other prompts is undecided",
        }
    return _worst("Class held?", drift, pools, sentences)


def _rest(drift: dict[str, Any]) -> Answer:
    pools = {"other nouns": "neighbour", "general prompts": "general", "empty prompt": "null"}
    sentences = {
        "held": "other prompts held",
        "moved": "other prompts moved, by up to {most} of what they do",
        UNDECIDED: "whether other prompts moved is undecided",
    }
    return _worst("The rest held?", drift, pools, sentences)


def _worst(
    question: str, drift: dict[str, Any], pools: dict[str, str], sentences: dict[str, str]
) -> Answer:
    """As bad as the worst of some pools, which are given by what they are called."""
    verdicts = [drift[pool]["verdict"] for pool in pools.values()]
    worst = next((v for v in ("moved", UNDECIDED) if v in verdicts), "held")
    # An undecided pool's size is no movement.
    most = share(max(drift[p]["value"] for p in pools.values() if drift[p]["verdict"] == worst))
    shares = ", ".join(f"{name} {share(drift[pool]['value'])}" for name, pool in pools.items())
    return Answer(
        question=question,
        verdict=worst,
        sentence=sentences[worst].replace("{most}", most),
        figure=most,
        detail=f"drift of {shares}; 100%: as much as the prompt does",
    )


def _followed(edits: dict[str, Any]) -> Answer:
    shares = edits["kind"].startswith("share")

    def say(value: float) -> str:
        return share(value) if shares else f"{value:.3f}"

    shown, base = say(edits["score"]), say(edits["base"])
    low, high = edits["interval"]
    sentence = {
        "kept": "prompts are followed as before",
        "lost": f"prompts are followed less than before ({shown}, base {base})",
        UNDECIDED: f"whether prompts are followed as before is undecided ({shown}, base {base})",
    }[edits["verdict"]]
    what = "of pictures show what was asked" if shares else "cosine of picture and prompt"
    return Answer(
        question="Prompts followed?",
        verdict=edits["verdict"],
        sentence=sentence,
        figure=shown,
        detail=f"{what} ({say(low)} to {say(high)}); base: {base}",
    )
