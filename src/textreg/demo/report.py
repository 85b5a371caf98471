"""The demo's page: one self-contained HTML file."""

from __future__ import annotations

import base64
import io
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from textreg.checkpoint import publish
from textreg.config import Run
from textreg.demo.measures import EDITS, Shown
from textreg.demo.preview import LABELS, preview
from textreg.environment import environment
from textreg.evaluate.features import square
from textreg.evaluate.report import rendered

_COLOURS = {"none": "#c2410c", "textreg": "#0f766e"}


def write_report(
    out: Path,
    report: dict[str, Any],
    curves: Sequence[dict[str, Any]],
    photos: Sequence[Image.Image],
    pictures: dict[str, dict[str, Shown]],
    run: Run,
) -> None:
    """Write preview.png and, last, report.html."""
    template = (files("textreg") / "demo" / "report.html.jinja").read_text(encoding="utf-8")
    rows = {row["prior"]: row for row in report["rows"]}
    html = rendered(
        template,
        noun=report["summary"]["noun"],
        words=run.concepts[0].words,
        rows=rows,
        summary=report["summary"],
        verdict=verdict(rows),
        labels=LABELS,
        photos=[embed(square(photo).resize((192, 192))) for photo in photos],
        sections=_sections(pictures),
        curves=_curves(curves),
        edits=[(template.replace("{}", run.concepts[0].words), v) for template, _, v in EDITS],
        commands=_commands(run, out),
        run=run,
        environment=environment(),
    )
    keys = ["class", "concept", EDITS[0][2], EDITS[-1][2]]
    buffer = io.BytesIO()
    preview(pictures, keys).save(buffer, "PNG", optimize=True)
    publish(out / "preview.png", buffer.getvalue())
    publish(out / "report.html", html.encode())


def verdict(rows: dict[str, dict[str, Any]]) -> str:
    """What the numbers say, in a sentence."""
    drifts = [rows[name]["drift"]["epsilon"] for name in ("none", "textreg")]
    (none, ours), elsewhere = (
        [drift[pool] for drift in drifts] for pool in ("class", "class_elsewhere")
    )
    edits = [rows[name]["editability"]["score"] for name in ("none", "textreg")]
    if ours >= none:
        return "Here TextReg did not hold the class better than no prior at all."
    held = "did not move at all" if ours < 1e-9 else f"moved {_times(none / ours)} less"
    if elsewhere[1] >= elsewhere[0]:
        held += ", though in prompts that it never saw no less"
    elif elsewhere[1] > 0:
        held += f", in prompts that it never saw {_times(elsewhere[0] / elsewhere[1])} less"
    return (
        f"With TextReg the class prompt {held}; edits were followed in {edits[1]:.0%} of the "
        f"pictures, without it in {edits[0]:.0%}."
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"


def embed(picture: Image.Image) -> str:
    """A picture as a data URL."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _sections(pictures: dict[str, dict[str, Shown]]) -> dict[str, list[dict[str, Any]]]:
    """For each kind of prompt, a strip of pictures of each model."""
    sections: dict[str, list[dict[str, Any]]] = {}
    for key in dict.fromkeys(key for shown in pictures.values() for key in shown):
        sections[key] = [
            {
                "model": model,
                "label": LABELS[model],
                "prompt": shown[key].prompt,
                "pictures": [embed(picture) for picture in shown[key].pictures[:8]],
            }
            for model, shown in pictures.items()
            if key in shown
        ]
    return sections


def _curves(points: Sequence[dict[str, Any]]) -> str:
    """Drift of each pool and fidelity over the steps of stage 2, as one picture."""
    panels = [
        ("class", "drift of the class prompt"),
        ("class_elsewhere", "of the class in other prompts"),
        ("neighbour", "of other nouns"),
        ("general", "of general prompts"),
        ("fidelity", "fidelity to the photos"),
    ]
    with matplotlib.rc_context({"svg.hashsalt": "textreg", "font.size": 9}):
        figure = Figure(figsize=(13, 2.6), layout="constrained")
        for axis, (key, title) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            for model, colour in _COLOURS.items():
                own = [p for p in points if p["model"] == model]
                values = [p["fidelity"] if key == "fidelity" else p["drift"][key] for p in own]
                label = LABELS[model]
                axis.plot([p["step"] for p in own], values, "o-", color=colour, label=label, ms=3)
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("steps of stage 2")
            axis.set_ylim(bottom=0)
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(alpha=0.25)
        figure.axes[0].legend(frameon=False, fontsize=8)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg")
    svg = buffer.getvalue()
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _commands(run: Run, out: Path) -> list[str]:
    concept = run.concepts[0]
    place = f"runs/{concept.noun.replace(' ', '_')}"
    seed = ["--seed", str(run.seed)] if run.seed else []
    train = ["train", str(concept.images), "--noun", concept.noun, "--base", run.base]
    commands = [
        ["demo", "--images", str(concept.images), "--noun", concept.noun, "--out", str(out), *seed],
        [*train, "--out", place, *seed],
        [*train, "--prior", "none", "--out", f"{place}-none", *seed],
        ["sample", place, "--prompt", f"a photo of a {concept.words}"],
    ]
    return [shlex.join(["textreg", *words]) for words in commands]
