"""What is drawn: which prompt and seed, by which model, for which comparison.

Base and tuned model draw the same prompts with the same seeds; only the concept's words are the
class noun for the base. The class is drawn by the base a second time with other seeds: what two
draws of one model differ by is the floor of every sampled distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from textreg.adapter import Adapter
from textreg.config import Concept
from textreg.evaluate.questions import Questions
from textreg.prompts import templates

VERSION = 2
"""Raise when other pictures are drawn for the same questions."""

ModelName = Literal["base", "tuned"]
PoolName = Literal["class", "class again", "concept", "edits", "neighbours", "general"]
Place = tuple[ModelName, PoolName]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """One picture to draw."""

    model: ModelName
    pool: PoolName
    prompt: str
    question: int
    """Index of the prompt in its pool."""
    seed: int


class Drawn:
    """The pictures of an evaluation, each shot with its key, by model and pool."""

    def __init__(self, shots: Sequence[tuple[str, Shot]]):
        self.shots = tuple(shots)
        self.places: tuple[Place, ...] = tuple(
            dict.fromkeys((shot.model, shot.pool) for _, shot in shots)
        )

    def at(self, model: ModelName, pool: PoolName) -> list[tuple[str, Shot]]:
        """One model's pictures of a pool, in order."""
        return [(k, s) for k, s in self.shots if (s.model, s.pool) == (model, pool)]

    def keys(self, model: ModelName, pool: PoolName) -> list[str]:
        """Their keys."""
        return [key for key, _ in self.at(model, pool)]


def planned_shots(
    concept: Concept, adapter: Adapter, questions: Questions, num_images: int, seed: int
) -> list[Shot]:
    """Every picture of an evaluation, each prompt at least once.

    `num_images` by each model of class, concept and edits; half as many of neighbours and general
    prompts, which are looked at and read, but not compared as sets. Seeds count on through a pool,
    prompt by prompt, so that no two pictures of it begin with the same noise: intervals take them
    for independent. Both models have the same ones, `textreg sample --seed` draws each again, and
    the floor's pictures count on from the class's.
    """
    words, noun = concept.words, concept.noun
    class_template = templates(f"class_{concept.learnable_property}")[0]
    class_prompt = class_template.replace("{}", noun)
    neighbours = [class_template.replace("{}", n) for n in questions.neighbours]
    half = num_images // 2
    plan: list[tuple[ModelName, PoolName, Sequence[str], int, int]] = [
        ("base", "class", [class_prompt], seed, num_images),
        ("tuned", "class", [class_prompt], seed, num_images),
        ("base", "class again", [class_prompt], seed + num_images, num_images),
        ("tuned", "concept", [adapter.prompt], seed, num_images),
        ("base", "edits", [e.of(noun) for e in questions.edits], seed, num_images),
        ("tuned", "edits", [e.of(words) for e in questions.edits], seed, num_images),
        ("base", "neighbours", neighbours, seed, half),
        ("tuned", "neighbours", neighbours, seed, half),
        ("base", "general", questions.general, seed, half),
        ("tuned", "general", questions.general, seed, half),
    ]
    return [
        Shot(
            model=model,
            pool=pool,
            prompt=prompt,
            question=number,
            seed=first + number * per_prompt(count, len(prompts)) + index,
        )
        for model, pool, prompts, first, count in plan
        for number, prompt in enumerate(prompts)
        for index in range(per_prompt(count, len(prompts)))
    ]


def per_prompt(count: int, prompts: int) -> int:
    """Pictures of each prompt of a pool that is to have `count`; at least one."""
    return max(1, count // prompts)


def images_for(pictures: int, prompts: int, counted: int | None = None) -> int:
    """The fewest pictures of a pool of which so many count.

    Args:
        pictures: that are to count.
        prompts: of the pool, which all get as many.
        counted: of how many prompts the pictures count; none: of all.
    """
    return -(-pictures // (counted or prompts)) * prompts
