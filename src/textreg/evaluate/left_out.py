"""What an evaluation could not give or decide at its size, and which flag would change that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textreg.config import Concept
from textreg.evaluate.decisions import LEAST, LEAST_DIFFERENT, LEAST_KEPT
from textreg.evaluate.report import ConceptPage
from textreg.evaluate.sampled_drift import LEAST_OTHERS, too_few
from textreg.evaluate.shots import images_for, per_prompt


def left_out(pages: Sequence[ConceptPage], num_images: int, epsilon_prompts: int) -> list[str]:
    """What was not asked, not measured or could not be decided, a line each.

    Args:
        pages: one a concept.
        num_images: pictures a pool.
        epsilon_prompts: prompts a pool of epsilon-drift.
    """
    lines, trained_on = too_few(num_images), set[str]()
    for page in pages:
        nouns = len(page.questions.neighbours)
        lines += unread(page.row)
        lines += undecided_for_few(page.row, nouns)
        lines += no_scale(page.row, nouns, num_images)
        lines += few_prompts(page.row, epsilon_prompts)
        trained_on |= set(page.questions.left_out)
    lines += _few_values(epsilon_prompts)
    lines += [f"edit that training used: {prompt}" for prompt in sorted(trained_on)]
    subjects = [page.subject for page in pages]
    return lines + [
        _other_words(s.concept) for s in subjects if s.run.inversion.initialise_with_noun
    ]


def unread(row: dict[str, Any]) -> list[str]:
    """A line for each number that no extractor gave.

    Args:
        row: of report.json.
    """
    name, edits, drift = row["concept"], row["editability"], row["drift"]
    lines = [f"{name}: editability: {edits['why']}"] if edits["score"] is None else []
    nouns = {row["noun"]: drift["class"], "other nouns": drift["neighbour"]}
    if missing := [noun for noun, found in nouns.items() if "judged" not in found]:
        lines.append(
            f"{name}: pictures still read as such, of {' and of '.join(missing)}: "
            f"{row['fidelity']['features']} does not read these nouns"
        )
    return lines


def undecided_for_few(row: dict[str, Any], neighbours: int) -> list[str]:
    """A line for each number of so few pictures that it decides nothing, or never "kept".

    Args:
        row: of report.json.
        neighbours: nouns that were asked for.
    """
    drift, edits = row["drift"], row["editability"]
    # A share of pictures has a second size, and the --num-images at which its pool has that.
    shares: dict[str, int] = {
        f"{row['noun']} still read as such": LEAST_KEPT,
        "other nouns still read as such": 2 * images_for(LEAST_KEPT, neighbours),
    }
    if edits.get("kind", "").startswith("share"):
        judged = sum(edit["score"] is not None for edit in edits["edits"])
        shares["editability"] = images_for(LEAST_KEPT, len(edits["edits"]), judged)
    numbers: dict[str, dict[str, Any]] = {
        "fidelity": row["fidelity"],
        "editability": edits,
        "PRES": drift["class"]["likeness"],
        f"{row['noun']} still read as such": drift["class"].get("judged", {}),
        "other nouns still read as such": drift["neighbour"].get("judged", {}),
    }
    lines: list[str] = []
    for name, found in numbers.items():
        count, images = found.get("pictures", LEAST_KEPT), shares.get(name)
        few = f"it needs {LEAST}" if count < LEAST else ""
        if images is not None and count < LEAST_KEPT:
            kept = f"{LEAST_KEPT} to be kept: --num-images {images}"
            few = f"{few}, {kept}" if few else f"it needs {kept}"
        if few:
            lines.append(f"{row['concept']}: a verdict on {name}: of {count} pictures, {few}")
    return lines


def no_scale(row: dict[str, Any], neighbours: int, num_images: int) -> list[str]:
    """A line if there are too few pictures of other nouns to hold KID and CMMD against.

    Args:
        row: of report.json.
        neighbours: nouns that were asked for.
        num_images: pictures a pool; other nouns get half as many.
    """
    found = row["drift"]["class"]
    without = [n for n in ("kid", "cmmd") if n in found and found[n]["scale"] is None]
    if not without:
        return []
    count = neighbours * per_prompt(num_images // 2, neighbours)
    return [
        f"{row['concept']}: a verdict on {' and '.join(without)}: of {count} pictures of other "
        f"nouns there is no scale, it needs {LEAST_OTHERS}: "
        f"--num-images {2 * images_for(LEAST_OTHERS, neighbours)}"
    ]


def few_prompts(row: dict[str, Any], count: int) -> list[str]:
    """A line for each pool of epsilon-drift that went round too few different prompts.

    Args:
        row: of report.json.
        count: prompts a pool, with those of a second round.
    """
    pools = {
        "class_elsewhere": ("the class in held-out prompts", "edits"),
        "neighbour": ("other nouns", "neighbours"),
        "general": ("general prompts", "general"),
    }
    different = {pool: row["drift"]["epsilon_shares"][pool]["prompts"] for pool in pools}
    return [
        f"{row['concept']}: a verdict on drift of {name}: of {different[pool]} different prompts, "
        f"it needs {LEAST_DIFFERENT}: name more {key} in --prompts"
        for pool, (name, key) in pools.items()
        if different[pool] < min(count, LEAST_DIFFERENT)
    ]


def _few_values(count: int) -> list[str]:
    """A line if so few prompts a pool decide nothing about epsilon-drift."""
    short = f"verdicts on epsilon-drift: of {count} prompts a pool, they need {LEAST}"
    return [f"{short}: --epsilon-prompts {LEAST}"] if count < LEAST else []


def _other_words(concept: Concept) -> str:
    """Of a run with initialise_with_noun, whose word alone stood in its prompts."""
    return (
        f"{concept.name}: {concept.identifier} alone, as training read it "
        f"(initialise_with_noun); all is asked of {concept.words!r}"
    )
