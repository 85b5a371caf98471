"""The numbers of a row as the page shows them: value, interval, what to hold it against."""

from __future__ import annotations

from typing import Any

from textreg.evaluate.decisions import DRIFT_MARGIN, SCALE_SHARE
from textreg.evaluate.page_line import Number, Say, bar, line, three
from textreg.evaluate.verdict import share

_POOLS = {
    "class": "the class prompt",
    "class_elsewhere": "the class in held-out prompts",
    "neighbour": "other nouns",
    "general": "general prompts",
    "null": "the empty prompt",
}


def number_groups(row: dict[str, Any], num_images: int) -> list[tuple[str, str, list[Number]]]:
    """(heading, what it is about, lines)."""
    features = row["fidelity"]["features"]
    drift = row["drift"]
    groups = [
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
            _class_lines(drift["class"], drift["neighbour"]),
        ),
        (
            "The concept",
            f"Likeness to the photos, seen by {features}; edits, seen by "
            f"{row['editability'].get('features') or 'nobody'}.",
            [_fidelity(row["noun"], row["fidelity"]), *_edits(row["noun"], row["editability"])],
        ),
        (
            "Pictures of the same prompt and seed",
            "Mean absolute difference of base and tuned model, of 1 from black to white.",
            [_change(pool, found) for pool, found in drift["picture_change"].items()],
        ),
        (
            "The new word in the text encoder",
            "Before any picture is drawn: what the identifier means, and how far it is heard.",
            _identifier_lines(drift["identifier"]),
        ),
    ]
    others = {name: seen for name, seen in row["by_features"].items() if name != features}
    return groups + [
        (
            f"The same pictures, seen by {name}",
            "The class, as above, and the concept.",
            [
                *_class_lines(seen["class"], seen["neighbour"]),
                _fidelity(row["noun"], seen["fidelity"]),
                *_edits(row["noun"], seen["editability"]),
            ],
        )
        for name, seen in others.items()
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
        bar=bar(found["value"], found["interval"], DRIFT_MARGIN, (1e-4, 3.0), logarithmic=True),
        verdict=found["verdict"],
    )


def _class_lines(found: dict[str, Any], neighbour: dict[str, Any]) -> list[Number]:
    """What one extractor sees of the class's pictures, and of other nouns'."""
    lines: list[Number] = []
    if "kid" in found:
        meaning = "unbiased kernel distance of the two sets; 0: no difference"
        lines.append(_distance("KID x 1000", meaning, found["kid"], 1000, "floor"))
    if "cmmd" in found:
        value, low, high = (three(x) for x in (found["cmmd"]["value"], *found["cmmd"]["interval"]))
        meaning = (
            "Gaussian kernel distance without pairs of equal pictures; as published, with them: "
            f"{value} ({low} to {high}), above 0 even for equal models"
        )
        lines.append(_distance("CMMD", meaning, found["cmmd"], 1, "floor of the published one"))
    for name, title, meaning in (
        ("vendi", "Vendi score", "effective number of different pictures"),
        ("diversity", "diversity", "mean distance of two pictures, 1 - cosine"),
    ):
        if name in found:
            of = found[name]
            lines.append(
                line(
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
            three,
        )
    )
    if "judged" in neighbour:
        judged = neighbour["judged"]
        meaning = f"share of {judged['pictures']} neighbour pictures a side"
        lines.append(_against_base("other nouns still read as such", meaning, judged))
    return lines


def _distance(
    title: str, meaning: str, found: dict[str, Any], times: float, floor_name: str
) -> Number:
    """A distance of picture sets against what decides: a small share of that to other nouns."""
    own, floor = found["unbiased"], found["floor"]
    floor_is = f"{floor_name} {three(times * floor['value'])}, at most " + three(
        times * floor["interval"][1]
    )
    mark = None
    against = "too few pictures of other nouns for a scale"
    if (scale := found["scale"]) is not None:
        least = times * scale["interval"][0]
        against = "no scale: other nouns look like the class"
        if least > 0:
            mark = SCALE_SHARE * least
            against = (
                f"held below {three(mark)}, {SCALE_SHARE:.0%} of other nouns' {three(least)} at "
                f"least ({three(times * scale['value'])})"
            )
    return line(
        title,
        meaning,
        [times * x for x in (own["value"], *own["interval"])],
        three,
        f"{against}; {floor_is}",
        mark,
        found["verdict"],
    )


def _change(pool: str, found: dict[str, Any]) -> Number:
    title = {"class": "the class prompt", "neighbours": "other nouns", "general": "general prompts"}
    values = [found["value"], *found["interval"]]
    return line(title[pool], "picture change", values, three, "0: the base's pictures", 0.0, None)


def _fidelity(noun: str, fidelity: dict[str, Any]) -> Number:
    photos = fidelity["photos"]
    return line(
        "fidelity",
        "mean cosine of concept pictures and photos"
        + (f"; the photos among themselves {photos:.3f}" if photos is not None else ""),
        [fidelity["score"], *fidelity["interval"]],
        three,
        f"any {noun}: {fidelity['base']:.3f}",
        fidelity["base"],
        fidelity["verdict"],
    )


def _edits(noun: str, edits: dict[str, Any] | None) -> list[Number]:
    """A line, if the extractor reads prompts or attributes."""
    if edits is None or edits["score"] is None:
        return []
    say = share if edits["kind"].startswith("share") else three
    return [
        line(
            "editability",
            f"held-out edits, {edits['kind']}",
            [edits["score"], *edits["interval"]],
            say,
            f"base, any {noun}: {say(edits['base'])}",
            edits["base"],
            edits["verdict"],
        )
    ]


def _identifier_lines(found: dict[str, Any]) -> list[Number]:
    lines = [
        line(
            "text-text drift",
            "cosine of the prompt with and without the identifier; 1: it adds nothing",
            [found["text"]["value"], *found["text"]["interval"]],
            three,
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
            line(
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
    return line(
        title,
        f"{meaning}; change {sign}{say(found['difference']['value'])} ({say(low)} to {say(high)})",
        [found["value"], *found["interval"]],
        say,
        f"base: {say(found['base'])}",
        found["base"],
        found["verdict"],
    )
