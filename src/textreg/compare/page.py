"""compare.json, pareto.png and compare.html: one page with the table, the plot and pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from textreg.checkpoint import publish
from textreg.compare.cells import Cell
from textreg.compare.pareto import draw_pareto
from textreg.compare.table import table
from textreg.evaluate.generate import read_drawn
from textreg.evaluate.report import ConceptPage, embed, rendered
from textreg.evaluate.shots import ModelName, PoolName
from textreg.evaluate.store import publish_json
from textreg.picture_grid import grid

MADE_BY = "textreg compare"
_SHOWN, _SIDE = 4, 96


def write_comparison(
    out: Path,
    content: dict[str, Any],
    cells: Sequence[Cell],
    pages: Mapping[Path, ConceptPage],
) -> dict[str, Any]:
    """Write pareto.png, compare.html and, last, compare.json; return the latter's content."""
    content = content | {"made_by": MADE_BY}
    plot = draw_pareto(content["curves"])
    publish(out / "pareto.png", plot)
    template = (files("textreg") / "compare" / "compare.html.jinja").read_text(encoding="utf-8")
    html = rendered(
        template,
        report=content,
        plot="data:image/png;base64," + base64.b64encode(plot).decode(),
        tables=[(kind, table(content["summary"], kind)) for kind in ("steps", "time")
                if kind in content["summary"]],
        concepts=_concepts(cells, pages),
    )  # fmt: skip
    publish(out / "compare.html", html.encode())
    publish_json(out / "compare.json", content, indent=2)
    return content


def _concepts(cells: Sequence[Cell], pages: Mapping[Path, ConceptPage]) -> list[dict[str, Any]]:
    """Of each concept's first seed, pictures of the same prompts and seeds by every prior."""
    first = min(cell.run.seed for cell in cells)
    found: dict[str, dict[str, Any]] = {}
    for cell in (cell for cell in cells if cell.run.seed == first):
        page = pages[cell.run.out]
        concept = page.subject.concept
        entry = found.setdefault(
            concept.name,
            {"name": concept.name, "words": concept.words, "noun": concept.noun, "seed": first,
             "rows": [("base", _strips(page, "base"))]},
        )  # fmt: skip
        entry["rows"].append((cell.variant.label, _strips(page, "tuned")))
    return list(found.values())


def _strips(page: ConceptPage, model: ModelName) -> list[str]:
    """A strip of pictures of the class, the concept, edits and neighbours, as data URLs."""
    pools: tuple[PoolName, ...] = ("class", "concept", "edits", "neighbours")
    return [_strip(page, model, pool) for pool in pools]


def _strip(page: ConceptPage, model: ModelName, pool: PoolName) -> str:
    shots = page.drawn.at(model, pool)
    if pool in ("edits", "neighbours"):
        first = {shot.question: (key, shot) for key, shot in reversed(shots)}
        shots = [first[number] for number in sorted(first)]
    if not shots:
        return ""
    pictures = read_drawn(page.store, [key for key, _ in shots[:_SHOWN]])
    for picture in pictures:
        picture.thumbnail((_SIDE, _SIDE))
    sheet = grid([pictures])
    return embed(sheet, max(sheet.size))
