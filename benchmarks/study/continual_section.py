"""Section g of docs/study.md: several concepts in one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from marked_page import table
from wording import NAMES, POOLS, many, number


def continual(report: Mapping[str, Any]) -> str:
    """A, F and drift by prior, each a mean over seeds; of one last model nothing is tested."""
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for row in report["rows"]:
        by_label.setdefault(row["prior"], []).append(row)
    most = max(len(rows) for rows in by_label.values())
    lines: list[list[str]] = []
    for label, some in ((label, rows) for label, rows in by_label.items() if len(rows) == most):
        cells = [number(_average([row[name] for row in some]), False) for name in ("A", "F")]
        drifts = [_average([row["drift"][pool] for row in some]) for pool in POOLS]
        lines.append([label, *cells, *(number(drift, True) for drift in drifts)])
    heads = ["", "A, fidelity at the end", "F, fidelity lost"]
    heads += [f"{NAMES[f'drift {pool}']}, %" for pool in POOLS]
    concepts = report["rows"][0]["concepts"]
    told = f"{many(concepts, 'concept')} ({', '.join(concepts)}), {many(range(most), 'seed')}."
    return f"{told}\n\n{table(heads, lines)}"


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values)
