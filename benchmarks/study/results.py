"""One part of the study as its JSON has it: numbers by prior and cell, and differences in pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from equal_fidelity import at_equal_fidelity
from merging import of_kind, rectangle

from textreg.compare.summary import Spread, metrics_of, summarise
from textreg.evaluate.intervals import Measured

Kind = Literal["steps", "time"]
Place = tuple[str, int]
"""(concept, seed)."""
Found = dict[str, Any]
"""A difference as `Spread.compare` gives it."""


class Part:
    """The content of one study-*.json."""

    def __init__(self, content: Mapping[str, Any]):
        kept = rectangle(content["rows"])
        order = list(content["priors"])  # which joining results does not keep
        self.content = dict(content) | {
            key: [x for x in content[key] if (x["concept"], x["seed"]) in kept]
            for key in ("rows", "points")
            if key in content
        }
        self.content["rows"].sort(key=lambda row: order.index(row["prior"]))
        self.reference: str = content["summary"]["reference"]
        self.settings: Mapping[str, Mapping[str, Any]] = content["priors"]
        self._rows: dict[tuple[Kind, str], dict[Place, dict[str, float]]] = {}
        # Written anew: the file's own may be of an earlier test.
        summary: dict[str, Any] = {"reference": self.reference}
        self.content["summary"] = summary
        for kind in ("steps", "time"):
            if kind not in content["summary"]:
                continue
            rows = of_kind(self.content["rows"], kind)
            summary[kind] = summarise(rows, self.reference)
            for row in rows:
                cells = self._rows.setdefault((kind, row["prior"]), {})
                cells[row["concept"], row["seed"]] = numbers_of(row)
        self.places = sorted({place for cells in self._rows.values() for place in cells})
        self._spreads: dict[tuple[Place, ...], Spread] = {}

    @classmethod
    def read(cls, path: Path) -> Part | None:
        """A part; none: it was not run yet."""
        return cls(json.loads(path.read_text())) if path.is_file() else None

    @property
    def kinds(self) -> list[Kind]:
        """Equal steps, equal time, or both."""
        return [kind for kind in ("steps", "time") if kind in self.content["summary"]]

    def places_of(self, kind: Kind) -> list[Place]:
        """The cells that were compared so."""
        return sorted(self._rows[kind, self.reference])

    def labels(self, *words: str, **wanted: Any) -> list[str]:
        """The priors made of all these words, with these settings of theirs.

        Args:
            words: "textreg", "weight-decay", ...; a prior may have more of them.
            wanted: settings of section `textreg`.
        """
        return [
            label
            for label, given in self.settings.items()
            if set(words) <= set(given["prior"].split("+"))
            and all(given.get(f"textreg.{name}") == value for name, value in wanted.items())
        ]

    def ours(self) -> list[str]:
        """The rows of TextReg: soft, hard and gated, alone or joined with others."""
        own = {*self.labels("textreg"), *self.labels("gated")}
        return [label for label in self.settings if label in own]

    def alone(self, word: str) -> list[str]:
        """The rows of one prior alone."""
        return [label for label, given in self.settings.items() if given["prior"] == word]

    def values(self, kind: Kind, label: str, metric: str) -> dict[Place, float]:
        """One number in each cell."""
        return {place: found[metric] for place, found in self._rows[kind, label].items()}

    def has(self, metric: str) -> bool:
        """Whether every row has this number."""
        return all(metric in found for cells in self._rows.values() for found in cells.values())

    def mean(self, kind: Kind, label: str, metric: str) -> Measured:
        """Mean over the cells, with its interval."""
        return self.mean_of(self.values(kind, label, metric))

    def at_step(self, label: str, step: float, metric: str = "fidelity") -> dict[Place, float]:
        """A number at a step of stage 2 in each cell; a curve's last step is -1.

        Between its points a curve is straight.

        Raises:
            ValueError: the curve does not come so far.
        """
        found: dict[Place, list[tuple[int, float]]] = {}
        for point in self.content["points"]:
            if point["prior"] == label:
                numbers = point if metric == "fidelity" else point["drift"]
                value = numbers[metric.removeprefix("drift ")]
                place = (point["concept"], point["seed"])
                found.setdefault(place, []).append((point["step"], value))
        return {place: _read(sorted(line), step) for place, line in found.items()}

    def gain(self, label: str) -> dict[Place, float]:
        """Fidelity at the end of a curve minus the word's."""
        word, end = self.at_step(label, 0), self.at_step(label, -1)
        return {place: end[place] - word[place] for place in word}

    def mean_of(self, values: Mapping[Place, float]) -> Measured:
        """Mean over the cells, with its interval."""
        spread = self.spread_of(values)
        return spread.mean(spread.values(values))

    def spread_of(self, values: Mapping[Place, float]) -> Spread:
        """Of the cells that have a value: at equal time they may be fewer."""
        places = tuple(sorted(values))
        if places not in self._spreads:
            self._spreads[places] = Spread(places)
        return self._spreads[places]

    def against(self, kind: Kind, own: str, reference: str, metric: str) -> Found:
        """One prior minus another at equal concept and seed."""
        pair = [self.values(kind, label, metric) for label in (own, reference)]
        spread = self.spread_of(pair[0])
        return spread.compare(*(spread.values(values) for values in pair))

    def against_nothing(self, kind: Kind, label: str, metric: str) -> Found:
        """A number that is a difference already, in pairs against 0."""
        found = self.values(kind, label, metric)
        spread = self.spread_of(found)
        values = spread.values(found)
        return spread.compare(values, 0 * values)

    def at_equal_fidelity(self, own: str, reference: str, pool: str) -> Found | None:
        """Drift at the fidelity that both reach; none: the JSON holds no points of cells."""
        points = self.content.get("points")
        return at_equal_fidelity(points, own, reference, pool) if points else None


def _read(line: Sequence[tuple[int, float]], step: float) -> float:
    steps, values = zip(*line, strict=True)
    if step > steps[-1]:
        raise ValueError(f"step {step:g} is not between {steps[0]} and {steps[-1]}")
    return float(np.interp(steps[-1] if step < 0 else step, steps, values))


def numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    """What is compared of a row, beyond what `textreg compare` itself does."""
    drift, edits = row["drift"], row["editability"]
    identifier = drift["identifier"]
    found = metrics_of(row) | {
        "text cosine": identifier["text"]["value"],
        "leakage": identifier["leakage"]["unmasked"]["value"],
        "attention": identifier["attention"]["unmasked"]["value"],
    }
    if edits["score"] is not None:
        found["edits lost"] = edits["score"] - edits["base"]
    for pool in ("class", "neighbour"):
        if judged := drift[pool].get("judged"):
            found[f"{pool} read"] = judged["value"] - judged["base"]
    return found


def between(parts: tuple[Part, Part], label: str, metric: str) -> Found:
    """The same prior in two parts, the first minus the second, in the cells that both have."""
    own, reference = (part.values("steps", label, metric) for part in parts)
    places = sorted(own.keys() & reference.keys())
    spread = Spread(places)
    return spread.compare(*(spread.values(values) for values in (own, reference)))
