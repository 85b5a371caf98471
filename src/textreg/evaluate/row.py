"""One concept's row of report.json, whose first keys other programs read (docs/evaluate.md)."""

from __future__ import annotations

from typing import Any

from textreg.evaluate.subjects import Subject


def report_row(
    subject: Subject,
    by_extractor: dict[str, dict[str, Any]],
    epsilon: dict[str, Any],
    identifier: dict[str, Any],
    change: dict[str, Any],
    *,
    attributes: bool,
) -> dict[str, Any]:
    """The row: `score`s and epsilon-drift as plain numbers, everything else beside them.

    Args:
        subject: whose row.
        by_extractor: what each extractor sees, in the user's order.
        epsilon: epsilon-drift by pool.
        identifier: text-text drift and leakage.
        change: difference of pictures of the same seed, by pool.
        attributes: whether any extractor reads attributes.
    """
    run, concept = subject.run, subject.concept
    first = next(iter(by_extractor))
    reading = next((n for n, found in by_extractor.items() if found["editability"]), None)
    nothing: dict[str, Any] = {
        "score": None,
        "why": "no edit says what it shows; add shows: to those of --prompts"
        if attributes
        else "no extractor reads prompts or attributes; add --features clip:FOLDER",
    }
    return {
        "concept": concept.name,
        "noun": concept.noun,
        "identifier": concept.identifier,
        "prior": run.prior,
        "seed": run.seed,
        "steps": subject.steps,
        "imported": subject.imported,
        "seconds": sum(
            m["seconds"]
            for m in subject.metrics()
            if m["stage"] == "tuning" and m["step"] <= subject.steps
        ),
        "fidelity": by_extractor[first]["fidelity"] | {"features": first},
        "editability": by_extractor[reading]["editability"] | {"features": reading}
        if reading
        else nothing,
        "drift": {
            "epsilon": {pool: found["value"] for pool, found in epsilon.items()},
            "epsilon_intervals": {pool: found["interval"] for pool, found in epsilon.items()},
            "epsilon_shares": {
                pool: found["share"] | {name: found[name] for name in ("prompts", "verdict")}
                for pool, found in epsilon.items()
            },
            "class": by_extractor[first]["class"],
            "neighbour": by_extractor[first]["neighbour"],
            "picture_change": change,
            "identifier": identifier,
        },
        "by_features": by_extractor,
    }
