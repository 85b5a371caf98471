"""Which pictures are drawn, from which seeds."""

from collections import defaultdict
from pathlib import Path

import torch

from textreg.adapter import Adapter
from textreg.config import Concept
from textreg.evaluate.questions import Edit, Questions
from textreg.evaluate.shots import Shot, images_for, planned_shots

NOUNS = ("dog", "boot", "teapot")


def plan(num_images: int, nouns: tuple[str, ...] = NOUNS) -> list[Shot]:
    adapter = Adapter(
        identifier="<krk1>",
        noun="cat",
        learnable_property="object",
        vector=torch.zeros(1),
        factors={},
        alpha=1.0,
    )
    questions = Questions(
        neighbours=nouns,
        general=("a red boot", "a barn"),
        edits=tuple(Edit(prompt=f"a {{}} in {place}") for place in ("snow", "rain", "town")),
    )
    concept = Concept(images=Path("cat"), noun="cat")
    return planned_shots(concept, adapter, questions, num_images, 5)


def test_no_two_pictures_of_a_pool_begin_with_the_same_noise() -> None:
    seeds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for shot in plan(12):
        seeds[shot.model, shot.pool].append(shot.seed)
    whole, half = list(range(5, 17)), list(range(5, 11))
    assert seeds == {
        ("base", "class"): whole,
        ("tuned", "class"): whole,
        ("base", "class again"): list(range(17, 29)),
        ("tuned", "concept"): whole,
        ("base", "edits"): whole,
        ("tuned", "edits"): whole,
        ("base", "neighbours"): half,
        ("tuned", "neighbours"): half,
        ("base", "general"): half,
        ("tuned", "general"): half,
    }


def test_each_picture_of_one_model_has_its_pair() -> None:
    shots, words = plan(13), "<krk1> cat"
    assert {words in s.prompt for s in shots if (s.model, s.pool) == ("tuned", "edits")} == {True}
    for pool in ("edits", "neighbours", "general"):
        base, tuned = (
            [
                (s.question, s.seed, s.prompt.replace(words, "cat"))
                for s in shots
                if (s.model, s.pool) == (model, pool)
            ]
            for model in ("base", "tuned")
        )
        assert base == tuned
        # Four pictures of each edit, two of each noun, three of each general prompt.
        each = {"edits": 4, "neighbours": 2, "general": 3}[pool]
        assert [question for question, *_ in base] == [n // each for n in range(len(base))]


def test_how_many_pictures_a_pool_needs() -> None:
    """For seven nouns, as Toyland has beside a cat, 56 and not 48; for eight, 48."""
    for count in (7, 8):
        nouns = tuple(f"noun {n}" for n in range(count))
        fewest = 2 * images_for(23, count)

        def drawn(num_images: int, nouns: tuple[str, ...] = nouns) -> int:
            return sum(s.pool == "neighbours" for s in plan(num_images, nouns)) // 2

        assert fewest == {7: 56, 8: 48}[count]
        assert drawn(fewest - 1) < 23 <= drawn(fewest)
    assert images_for(23, 8, 4) == 48
