"""Step 3: features to numbers with intervals; opens no picture and no model.

Base and tuned pictures of one pool are paired by prompt and seed, so every comparison resamples
pairs. docs/evaluate.md says what each number means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from textreg.evaluate.decisions import (
    LEAST_DIFFERENT,
    SIMILARITY_MARGIN,
    UNDECIDED,
    drifted,
    gained,
    kept,
    kept_share,
    pulled,
    with_enough,
)
from textreg.evaluate.featurise import Read
from textreg.evaluate.intervals import (
    Measured,
    measured,
    measured_share,
    resamples,
    weighted_mean,
)
from textreg.evaluate.questions import Edit
from textreg.evaluate.sampled_drift import sampled_drift
from textreg.evaluate.shots import Place, PoolName
from textreg.prompts import Pool

VERSION = 3
"""Raise when the same features give other numbers."""
_ONE_PROMPT = ("class", "null")
"""Pools of epsilon-drift that ask one prompt; only their noise can be drawn again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """All that one extractor sees of one concept."""

    reads: Mapping[Place, Read]
    photos: Tensor
    """Of the concept, unit vectors [photos, d]."""
    edit_texts: Tensor | None
    """Of the edits without identifier, [edits, d]; none: no text side."""
    attributes: Mapping[str, Sequence[str]]
    """Values of each attribute it reads; empty: none."""
    questions: Mapping[Place, Sequence[int]]
    """Index of each picture's prompt in its pool."""


def score_features(
    seen: Seen, *, noun: str, neighbours: Sequence[str], edits: Sequence[Edit], seed: int
) -> dict[str, Any]:
    """Fidelity, editability and sampled drift, as one extractor sees them."""
    places: tuple[Place, ...] = (
        ("base", "class"),
        ("tuned", "class"),
        ("base", "class again"),
        ("base", "neighbours"),
    )
    base, tuned, again, others = (seen.reads[place].features for place in places)
    return {
        "fidelity": fidelity(seen, seed),
        "editability": _editability(seen, edits, seed),
        "class": sampled_drift(base, tuned, again, others, seed)
        | _judged(seen, "class", [noun], seed)
        | {"likeness": _likeness(seen, seed)},
        "neighbour": _judged(seen, "neighbours", neighbours, seed),
    }


def score_epsilon(
    probes: Mapping[Pool, Mapping[str, Sequence[float]]],
    asked: Mapping[Pool, Sequence[str]],
    seed: int,
) -> dict[str, Any]:
    """Epsilon-drift by pool; `share` is of what the prompts do to the base's prediction.

    The empty prompt does nothing; its drift is seen against what the class prompt does. Values of
    one prompt are drawn together: another noise on it is no other prompt.

    Args:
        probes: "drift" and "prompt_effect" of each prompt, by pool.
        asked: the prompts, by pool; a pool of few may have gone round.
        seed: of the resamples.
    """
    found: dict[str, Any] = {}
    for pool, probe in probes.items():
        drift = torch.tensor(probe["drift"], dtype=torch.float64)
        scale = "class" if pool == "null" else pool
        effect = torch.tensor(probes[scale]["prompt_effect"], dtype=torch.float64)
        different = list(dict.fromkeys(asked[pool]))
        if pool in _ONE_PROMPT:
            weights, enough = resamples(len(drift), seed, "epsilon", pool), True
        else:
            prompt_of = [different.index(prompt) for prompt in asked[pool]]
            weights = resamples(len(different), seed, "epsilon", pool)[:, prompt_of]
            enough = len(different) >= LEAST_DIFFERENT
        each = weighted_mean(drift, weights)
        share = measured(each / weighted_mean(effect, weights))
        found[pool] = measured(each).plain() | {
            "share": share.plain(),
            "prompts": len(different),
            "verdict": with_enough(drifted(share), len(drift)) if enough else UNDECIDED,
        }
    return found


def score_identifier(probe: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Means over prompts with intervals: text-text cosine, leakage and attention by mask state."""

    def mean(values: Sequence[float]) -> dict[str, Any]:
        return _mean(torch.tensor(values, dtype=torch.float64), seed, "identifier").plain()

    return {
        "text": mean(probe["text"]),
        "neighbour": mean(probe["neighbour"]),
        "leakage": {state: mean(probe[state]["change"]) for state in ("unmasked", "masked")},
        "attention": {state: mean(probe[state]["attention"]) for state in ("unmasked", "masked")},
    }


def score_change(changes: Mapping[str, Sequence[float]], seed: int) -> dict[str, Any]:
    """Mean absolute difference of base and tuned pictures of the same seed, by pool."""
    return {
        pool: _mean(torch.tensor(values, dtype=torch.float64), seed, pool).plain()
        for pool, values in changes.items()
    }


def _mean(values: Tensor, seed: int, purpose: str) -> Measured:
    return measured(weighted_mean(values, resamples(len(values), seed, purpose)))


def fidelity(seen: Seen, seed: int) -> dict[str, Any]:
    """Mean cosine of concept pictures and photos, against that of the base's class pictures.

    `photos`: of the photos among themselves, which is about the most that can be had.
    """
    photos = seen.photos
    own = (seen.reads["tuned", "concept"].features @ photos.T).mean(1)
    any_member = (seen.reads["base", "class"].features @ photos.T).mean(1)
    gain = _mean(own - any_member, seed, "class")
    count = len(photos)
    among = (photos @ photos.T).sum() - count
    score = _mean(own, seed, "class")
    return {
        "score": min(max(score.value, 0.0), 1.0),
        "interval": [score.low, score.high],
        "base": float(any_member.mean()),
        "photos": float(among / (count * (count - 1))) if count > 1 else None,
        "gain": gain.plain(),
        "pictures": len(own),
        "verdict": with_enough(gained(gain), len(own)),
    }


def _editability(seen: Seen, edits: Sequence[Edit], seed: int) -> dict[str, Any] | None:
    """Share of pictures that show what was asked, or their cosine to the prompt.

    The prompt stands without its identifier; the base is asked for any member of the class.
    """
    shares = bool(seen.attributes) and any(edit.shows for edit in edits)
    if not shares and seen.edit_texts is None:
        return None
    followed: dict[str, Tensor] = {}
    asked = seen.questions["tuned", "edits"]
    judged = [n for n, q in enumerate(asked) if not shares or edits[q].shows]
    for model in ("base", "tuned"):
        read = seen.reads[model, "edits"]
        if shares:
            each = [_shows(read, n, edits[asked[n]].shows, seen.attributes) for n in judged]
            followed[model] = torch.tensor(each, dtype=torch.float64)
        else:
            assert seen.edit_texts is not None
            followed[model] = (read.features * seen.edit_texts[list(asked)]).sum(1)
    change, count = followed["tuned"] - followed["base"], len(judged)
    if shares:
        weights = resamples(count, seed, "edits")
        score = measured_share(followed["tuned"], weights)
        difference = measured_share(change, weights, least=-1)
        verdict = kept_share(difference, count)
    else:
        score = _mean(followed["tuned"], seed, "edits")
        difference = _mean(change, seed, "edits")
        verdict = with_enough(kept(difference, SIMILARITY_MARGIN), count)
    rows: list[dict[str, Any]] = []
    for number, edit in enumerate(edits):
        places = [place for place, n in enumerate(judged) if asked[n] == number]
        values = {m: float(f[places].mean()) if places else None for m, f in followed.items()}
        rows.append({"prompt": edit.prompt, "score": values["tuned"], "base": values["base"]})
    return {
        "score": min(max(score.value, 0.0), 1.0),
        "interval": [score.low, score.high],
        "kind": "share of pictures" if shares else "cosine to the prompt",
        "base": float(followed["base"].mean()),
        "difference": difference.plain(),
        "pictures": count,
        "verdict": verdict,
        "edits": rows,
    }


def _shows(
    read: Read, picture: int, shows: Mapping[str, str], attributes: Mapping[str, Sequence[str]]
) -> float:
    """1 if every attribute that was asked for is the likeliest of its kind, else 0."""
    return float(
        all(
            int(read.attributes[name][picture].argmax()) == list(attributes[name]).index(value)
            for name, value in shows.items()
        )
    )


def _judged(seen: Seen, pool: PoolName, nouns: Sequence[str], seed: int) -> dict[str, Any]:
    """Share of a pool's pictures in which its noun is read, if the extractor reads nouns."""
    known = [noun.casefold() for noun in seen.attributes.get("noun", ())]
    nouns = [noun.casefold() for noun in nouns]
    if not known or not set(nouns) <= set(known):
        return {}
    asked = [known.index(nouns[q]) for q in seen.questions["tuned", pool]]
    base, tuned = (
        (seen.reads[model, pool].attributes["noun"].argmax(1) == torch.tensor(asked)).double()
        for model in ("base", "tuned")
    )
    weights = resamples(len(asked), seed, pool)
    difference = measured_share(tuned - base, weights, least=-1)
    return {
        "judged": measured_share(tuned, weights).plain()
        | {
            "base": float(base.mean()),
            "difference": difference.plain(),
            "pictures": len(asked),
            "verdict": kept_share(difference, len(asked)),
        }
    }


def _likeness(seen: Seen, seed: int) -> dict[str, Any]:
    """PRES: mean cosine of class pictures and photos; rises when the class becomes the concept."""
    base, tuned = (
        (seen.reads[model, "class"].features @ seen.photos.T).mean(1) for model in ("base", "tuned")
    )
    difference = _mean(tuned - base, seed, "class")
    return _mean(tuned, seed, "class").plain() | {
        "base": float(base.mean()),
        "difference": difference.plain(),
        "pictures": len(tuned),
        "verdict": with_enough(pulled(difference, SIMILARITY_MARGIN), len(tuned)),
    }
