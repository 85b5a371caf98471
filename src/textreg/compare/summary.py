"""Rows and points to means with intervals, and each prior against the reference, in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from textreg.compare.intervals import cell_resamples
from textreg.compare.paired_test import MANY_CONCEPTS, concept_flip_p, decide
from textreg.evaluate.intervals import Measured, measured, weighted_mean

POOLS = ("class", "class_elsewhere", "neighbour", "general", "null")
Place = tuple[str, int]
"""(concept, seed)."""


def metrics_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row that are compared; drift as a share of what the prompt does."""
    shares = row["drift"]["epsilon_shares"]
    found: dict[str, float | None] = {
        "fidelity": row["fidelity"]["score"],
        "editability": row["editability"]["score"],
        **{f"drift {pool}": shares[pool]["value"] for pool in POOLS},
        "seconds": row["seconds"],
    }
    return {name: value for name, value in found.items() if value is not None}


class Spread:
    """Means over the places that were compared, with intervals over concepts and seeds."""

    def __init__(self, places: Sequence[Place]):
        self._concepts = len({concept for concept, _ in places})
        self._places = sorted(places)
        seeds = len(places) // self._concepts
        self._weights = cell_resamples(self._concepts, seeds, "compare")

    def values(self, by_place: Mapping[Place, float]) -> Tensor:
        """In the order of the weights, [places]."""
        values = [by_place[place] for place in self._places]
        return torch.tensor(values, dtype=torch.float64)

    def mean(self, values: Tensor) -> Measured:
        """Mean and interval; of a single place the interval is of no width and says nothing."""
        return measured(weighted_mean(values, self._weights))

    def compare(self, own: Tensor, reference: Tensor) -> dict[str, Any]:
        """Own minus reference at equal concept and seed."""
        difference = own - reference
        mean = self.mean(difference)
        p = concept_flip_p(difference.unflatten(0, (self._concepts, -1)))
        units = self._concepts if self._concepts >= MANY_CONCEPTS else len(difference)
        return mean.plain() | {"p": p, "verdict": decide(mean, p, units)}


def summarise(rows: Sequence[Mapping[str, Any]], reference: str) -> dict[str, Any]:
    """By prior: the mean of each metric with its interval, and its difference from the reference.

    Args:
        rows: of one kind of equality, a row each prior, concept and seed.
        reference: the prior that the others are compared with.
    """
    by_label: dict[str, dict[Place, dict[str, float]]] = {}
    for row in rows:
        place = (row["concept"], row["seed"])
        by_label.setdefault(row["prior"], {})[place] = metrics_of(row)
    steps = {row["prior"]: row["steps"] for row in rows}
    spread = Spread(list(by_label[reference]))
    names = [name for name, lacking in _lacking(rows).items() if not lacking]
    summary: dict[str, Any] = {}
    for label, found in by_label.items():
        entry: dict[str, Any] = {"steps": steps[label], "cells": len(found)}
        for name in names:
            values = spread.values({place: m[name] for place, m in found.items()})
            entry[name] = spread.mean(values).plain()
            if label != reference and name != "seconds":
                others = {place: m[name] for place, m in by_label[reference].items()}
                entry[name]["against"] = spread.compare(values, spread.values(others))
        summary[label] = entry
    return summary


def _lacking(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By metric that any row has: the concepts of which some row lacks it."""
    found = [(row["concept"], metrics_of(row)) for row in rows]
    return {
        name: list(dict.fromkeys(concept for concept, metrics in found if name not in metrics))
        for name in dict.fromkeys(name for _, metrics in found for name in metrics)
    }


def not_in_all(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each metric that some cells lack: a mean over the others would be of others."""
    edits = [row["editability"] for row in rows]
    unread = all(found["score"] is None for found in edits)
    lines = [f"editability: {edits[0]['why']}"] if unread else []
    return lines + [
        f"{name}: was not measured of {', '.join(concepts)}, so it is compared of none"
        for name, concepts in _lacking(rows).items()
        if concepts
    ]


def curves(points: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """By prior, over the steps: mean fidelity and drift, and whether they are on the front.

    Args:
        points: with "prior", "concept", "seed", "step", "fidelity" and "drift".
    """
    spread = Spread(list({(point["concept"], point["seed"]) for point in points}))
    found: dict[str, list[dict[str, Any]]] = {}
    for label in dict.fromkeys(point["prior"] for point in points):
        own = [point for point in points if point["prior"] == label]
        found[label] = []
        for step in sorted({point["step"] for point in own}):
            at = {(p["concept"], p["seed"]): p for p in own if p["step"] == step}
            fidelity = spread.values({place: p["fidelity"] for place, p in at.items()})
            drift = {
                pool: spread.mean(spread.values({k: p["drift"][pool] for k, p in at.items()}))
                for pool in POOLS
            }
            found[label].append(
                {
                    "step": step,
                    "fidelity": spread.mean(fidelity).plain(),
                    "drift": {pool: mean.plain() for pool, mean in drift.items()},
                }
            )
    everything = [point for line in found.values() for point in line]
    for point in everything:
        point["on_front"] = {
            pool: not any(_dominates(other, point, pool) for other in everything) for pool in POOLS
        }
    return found


def _dominates(a: Mapping[str, Any], b: Mapping[str, Any], pool: str) -> bool:
    """Whether a is at least as faithful and drifted no further, and better in one of them."""
    fidelity = a["fidelity"]["value"] - b["fidelity"]["value"]
    drift = a["drift"][pool]["value"] - b["drift"][pool]["value"]
    return fidelity >= 0 and drift <= 0 and (fidelity > 0 or drift < 0)
