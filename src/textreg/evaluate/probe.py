"""Step 1, without pictures: epsilon-drift by pool, and what the identifier means; kept as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from textreg.config import Concept
from textreg.evaluate.identifier_drift import leakage, text_drift
from textreg.evaluate.model_pair import ModelPair
from textreg.evaluate.questions import Questions
from textreg.evaluate.store import digest, kept_json
from textreg.prompts import Pool, drift_pools, instance_templates, templates

VERSION = 1
"""Raise when the same model and prompts get other numbers."""
TIMESTEPS = 8


def epsilon_pools(concept: Concept, questions: Questions, count: int) -> dict[Pool, list[str]]:
    """The prompts of each pool, `count` of them; a pool with fewer goes round, with other noise."""
    template = templates(f"class_{concept.learnable_property}")[0]
    pools: dict[Pool, Sequence[str]] = {
        "class": drift_pools(concept)["class"],
        # No class template is among them: what hard mode pins is only what "class" asks.
        "class_elsewhere": [edit.of(concept.noun) for edit in questions.edits],
        "neighbour": [template.replace("{}", noun) for noun in questions.neighbours],
        "general": questions.general,
        "null": [""],
    }
    return {name: [pool[i % len(pool)] for i in range(count)] for name, pool in pools.items()}


def probe_epsilon(
    models: ModelPair, prompts: Sequence[str], seed: int, folder: Path, batch_size: int
) -> dict[str, list[float]]:
    """Epsilon-drift of one pool and what its prompts do to the base, prompt by prompt.

    Args:
        models: base and tuned; loaded only if nothing is kept.
        prompts: of the pool.
        seed: of pictures and noise.
        folder: RUN/evaluation.
        batch_size: prompts at once; decides no number, so nothing that is kept is named by it.
    """

    def make() -> dict[str, list[float]]:
        tuned: list[float] = []
        effect: list[float] = []
        # A few prompts at a time: what is kept of them is their predictions at all timesteps.
        for start in range(0, len(prompts), 8):
            part = prompts[start : start + 8]
            drift = models.base.epsilon(part, TIMESTEPS, seed + 1000 + start, batch_size)
            tuned += drift.each(models("tuned")).tolist()
            effect += drift.prompt_effect().tolist()
        return {"drift": tuned, "prompt_effect": effect}

    key = digest("epsilon", VERSION, models.keys, list(prompts), seed, TIMESTEPS)
    return kept_json(folder / "probes" / f"epsilon-{key}.json", make)


def probe_identifier(
    models: ModelPair,
    concept: Concept,
    questions: Questions,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Text-text drift and leakage, prompt by prompt; `neighbour` is another noun's cosine."""
    own = instance_templates(concept)
    noun, words, other = concept.noun, concept.words, questions.neighbours[0]
    # Leakage needs words behind the noun.
    edits = [edit.of(words) for edit in questions.edits if not edit.prompt.endswith("{}")]
    edits = edits or [edit.of(words) for edit in questions.edits]

    def make() -> dict[str, Any]:
        tuned = models("tuned")
        plain = [template.replace("{}", noun) for template in own]
        found: dict[str, Any] = {
            "text": text_drift(tuned, [t.replace("{}", words) for t in own], plain).tolist(),
            "neighbour": text_drift(tuned, [t.replace("{}", other) for t in own], plain).tolist(),
        }
        for name, masked in (("unmasked", False), ("masked", True)):
            found[name] = asdict(leakage(tuned, edits, masked=masked, seed=seed))
        return found

    key = digest("identifier", VERSION, models.keys, own, words, other, edits, seed)
    with torch.no_grad():
        return kept_json(folder / "probes" / f"identifier-{key}.json", make)
