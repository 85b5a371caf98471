"""compare.json from what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textreg.adapter.about import base_name
from textreg.compare.cells import Cell
from textreg.compare.summary import curves, summarise
from textreg.environment import environment
from textreg.evaluate import score, shots
from textreg.evaluate.features import Extractor
from textreg.evaluate.options import Options
from textreg.evaluate.report import ConceptPage

if TYPE_CHECKING:
    from textreg.compare.comparison import Comparison

VERSIONS = {"shots": shots.VERSION, "score": score.VERSION}
"""Cells that were measured by other versions are no parts of one comparison."""


def content_of(
    comparison: Comparison,
    cells: Sequence[Cell],
    in_time: Sequence[Cell],
    pages: dict[Path, ConceptPage],
    points: Sequence[dict[str, Any]],
    extractors: Sequence[Extractor],
    options: Options,
) -> dict[str, Any]:
    """compare.json; its rows are report.json's, with the variant's label as prior.

    Args:
        comparison: what was compared.
        cells: at equal steps.
        in_time: at equal time.
        pages: what was measured, by the folder of each run.
        points: of the curves.
        extractors: as in `evaluate`.
        options: as in `evaluate`.
    """
    kinds = {"steps": cells if comparison.equal != "time" else [], "time": in_time}
    rows: dict[Path, dict[str, Any]] = {}
    for kind, some in kinds.items():
        for cell in some:
            row = rows.setdefault(
                cell.run.out,
                {k: v for k, v in pages[cell.run.out].row.items() if k != "by_features"}
                | {"prior": cell.variant.label, "equal": []},
            )
            row["equal"].append(kind)
    reference = comparison.variants[0].label
    word, run = cells[0].word, cells[0].run
    return {
        "base": base_name(run.base),
        "rows": list(rows.values()),
        "summary": {"reference": reference}
        | {
            kind: summarise([row for row in rows.values() if kind in row["equal"]], reference)
            for kind, some in kinds.items()
            if some
        },
        "curves": curves(points),
        "points": list(points),
        "priors": {variant.label: variant.settings for variant in comparison.variants},
        "features": [{"name": e.name, "sha256": e.digest} for e in extractors],
        "settings": {
            "num_images": options.num_images,
            "epsilon_prompts": options.epsilon_prompts,
            "seed": options.seed,
            "seeds": len({cell.run.seed for cell in cells}),
            "inversion": {
                name: getattr(word.inversion, name)
                for name in ("steps", "learning_rate", "schedule")
            },
            "tuning_steps": run.tuning.steps,
            "tuning": {
                name: getattr(run.tuning, name) for name in ("learning_rate", "schedule", "rank")
            },
            "batch_size": run.optimizer.batch_size,
            "versions": VERSIONS,
            "equal": comparison.equal,
        },
        "environment": environment(),
    }
