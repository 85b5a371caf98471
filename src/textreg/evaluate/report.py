"""Step 4: report.json and report.html, one self-contained page; rewritten only if they change."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import jinja2
from PIL import Image

from textreg.checkpoint import publish
from textreg.concept import read_picture
from textreg.environment import environment
from textreg.errors import UserError
from textreg.evaluate.curves import draw_curves
from textreg.evaluate.features import square
from textreg.evaluate.generate import picture_path
from textreg.evaluate.page_numbers import number_groups
from textreg.evaluate.questions import Questions
from textreg.evaluate.shots import Drawn, ModelName, PoolName, Shot
from textreg.evaluate.store import digest, publish_json
from textreg.evaluate.subjects import Subject
from textreg.evaluate.verdict import answers, tone, verdict

VERSION = 3
"""Raise when the same numbers and pictures become another page."""
MADE_BY = "textreg evaluate"
_SHOWN, _SIDE = 8, 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ConceptPage:
    """What the page shows of one concept."""

    subject: Subject
    questions: Questions
    row: dict[str, Any]
    drawn: Drawn
    store: Path


def refuse_foreign(paths: Sequence[Path], made_by: str) -> None:
    """Refuse to write over what something else made.

    Args:
        paths: of the files to be written.
        made_by: the mark of one's own.

    Raises:
        UserError: such a file lies there.
    """
    for path in paths:
        if path.is_file() and made_by not in path.read_text(encoding="utf-8", errors="replace"):
            raise UserError(f"{path}: was made by something else; choose another --out")


def write_report(
    out: Path, content: dict[str, Any], pages: Sequence[ConceptPage]
) -> dict[str, Any]:
    """Write report.html and, last, report.json; return the latter's content.

    Args:
        out: where to.
        content: of report.json, without the summary.
        pages: one a row.
    """
    template = (files("textreg") / "evaluate" / "report.html.jinja").read_text(encoding="utf-8")
    lines = [page.subject.metrics() for page in pages]
    report = content | {
        "summary": {"verdicts": {row["concept"]: verdict(row) for row in content["rows"]}},
        "made_by": MADE_BY,
    }
    report["digest"] = digest("report", VERSION, report, template, lines)
    report["environment"] = environment()
    path, page = out / "report.json", out / "report.html"
    # The page first: a report.json that is there has its page.
    if not (page.is_file() and path.is_file() and report["digest"] in path.read_text()):
        publish(page, _html(template, report, pages, lines).encode())
        publish_json(path, report, indent=2)
    return report


def _html(
    template: str,
    report: dict[str, Any],
    pages: Sequence[ConceptPage],
    lines: Sequence[Sequence[dict[str, Any]]],
) -> str:
    return rendered(
        template,
        report=report,
        concepts=[
            _concept(page, report, metrics) for page, metrics in zip(pages, lines, strict=True)
        ],
        tone=tone,
    )


def rendered(template: str, **values: Any) -> str:
    """A page from its template; what values hold is text, never markup."""
    return (
        jinja2.Environment(
            autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        .from_string(template)
        .render(values)
    )


def _concept(
    page: ConceptPage, report: dict[str, Any], metrics: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    concept = page.subject.concept
    row = page.row
    return {
        "row": row,
        "words": concept.words,
        "noun": concept.noun,
        "verdict": verdict(row),
        "answers": answers(row),
        "photos": [embed(square(read_picture(p.path)), 160) for p in page.subject.photos],
        "class": [_strip(page, model, "class") for model in ("base", "tuned")],
        "concept": _strip(page, "tuned", "concept"),
        "edits": _edits(page),
        "neighbours": [_each_prompt(page, model, "neighbours") for model in ("base", "tuned")],
        "general": [_each_prompt(page, model, "general") for model in ("base", "tuned")],
        "groups": number_groups(row, report["settings"]["num_images"]),
        "counts": {pool: len(page.drawn.at("tuned", pool)) for pool in get_args(PoolName)},
        "curves": draw_curves(metrics),
    }


def _strip(page: ConceptPage, model: ModelName, pool: PoolName) -> dict[str, Any]:
    """The first pictures of a pool."""
    return _pictures(page, model, page.drawn.at(model, pool)[:_SHOWN])


def _each_prompt(page: ConceptPage, model: ModelName, pool: PoolName) -> dict[str, Any]:
    """One picture a prompt."""
    first = {shot.question: (key, shot) for key, shot in reversed(page.drawn.at(model, pool))}
    return _pictures(page, model, [first[n] for n in sorted(first)][:_SHOWN])


def _edits(page: ConceptPage) -> list[dict[str, Any]]:
    """Of each edit, a few pictures of both models."""
    found: list[dict[str, Any]] = []
    scores = page.row["editability"].get("edits", [None] * len(page.questions.edits))
    share = page.row["editability"].get("kind", "").startswith("share")
    for number, edit in enumerate(page.questions.edits):
        sides = [
            _pictures(
                page,
                model,
                [s for s in page.drawn.at(model, "edits") if s[1].question == number][:4],
            )
            for model in ("base", "tuned")
        ]
        if sides[0]["pictures"]:
            found.append(
                {
                    "prompt": edit.of(page.subject.concept.words),
                    "sides": sides,
                    "score": scores[number],
                    "share": share,
                }
            )
    return found


def _pictures(
    page: ConceptPage, model: ModelName, shots: Sequence[tuple[str, Shot]]
) -> dict[str, Any]:
    pictures: list[dict[str, Any]] = []
    for key, shot in shots:
        with Image.open(picture_path(page.store, key)) as image:
            url = embed(image.convert("RGB"), _SIDE)
        pictures.append({"url": url, "prompt": shot.prompt, "seed": shot.seed})
    return {"model": model, "pictures": pictures}


def embed(image: Image.Image, most: int) -> str:
    """A picture as a data URL, no larger than the page needs."""
    buffer, kind = io.BytesIO(), "png"
    if max(image.size) > most:
        image.thumbnail((most, most), Image.Resampling.LANCZOS)
        kind = "webp"
    image.save(buffer, kind, **({"quality": 88} if kind == "webp" else {"optimize": True}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
