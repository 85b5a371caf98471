"""The study's plots: the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from results import Part
from wording import NAMES

from textreg.compare.pareto import draw_pareto

_POOLS = ("class", "class_elsewhere", "neighbour", "general")
_INK, _SOFT = "#44403c", "#d6d3d1"
_COLOURS = ("#0f766e", "#c2410c", "#6d28d9", "#0369a1", "#be185d")
_MARKERS = "os^Dv"


def pareto(part: Part, path: Path) -> None:
    """Fidelity against drift over the steps, every prior."""
    path.write_bytes(draw_pareto(part.content["curves"]))


def equal_fidelity(part: Part, references: Sequence[str], path: Path) -> None:
    """TextReg's drift minus others' at the fidelity that both reach."""
    own = [label for label in part.ours() if label not in references]
    figure = Figure(
        figsize=(14, 1.2 + 0.12 * len(own) * (1 + len(references))), layout="constrained"
    )
    axes = figure.subplots(1, len(_POOLS), sharey=True)
    for axis, pool in zip(axes, _POOLS, strict=True):
        for number, reference in enumerate(references):
            for row, label in enumerate(own):
                one = part.at_equal_fidelity(label, reference, pool)
                if one is None:
                    continue
                y = row + (number - (len(references) - 1) / 2) / (len(references) + 1)
                colour = _COLOURS[number % len(_COLOURS)]
                axis.plot([100 * x for x in one["interval"]], [y, y], color=colour, lw=1.4)
                decided = one["verdict"] in ("less", "more", "equal")
                axis.plot(
                    100 * one["value"], y, _MARKERS[number % len(_MARKERS)], color=colour, ms=5,
                    mfc=colour if decided else "white",
                    label=f"minus {reference}" if row == 0 else None,
                )  # fmt: skip
        axis.axvline(0, color=_INK, lw=0.8)
        axis.set_xscale("symlog", linthresh=1)
        axis.set_title(f"drift of {NAMES[f'drift {pool}']}", fontsize=10, loc="left", color=_INK)
        axis.set_xlabel("% of what the prompt does", color=_INK)
        axis.set_yticks(range(len(own)), own)
        _plain(axis)
    axes[0].invert_yaxis()
    _legend(figure, axes[0])
    _save(figure, path)


def edits(part: Part, path: Path) -> None:
    """Edits followed against neighbours' drift and against fidelity, every prior at equal steps."""
    kind = part.kinds[0]
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, metric in zip(axes, ("drift neighbour", "fidelity"), strict=True):
        scale = 100 if metric.startswith("drift") else 1
        for number, label in enumerate(part.settings):
            x, y = (part.mean(kind, label, name) for name in (metric, "editability"))
            colour = _COLOURS[number // len(_MARKERS) % len(_COLOURS)]
            axis.plot([scale * x.low, scale * x.high], [y.value] * 2, color=colour, lw=0.7)
            axis.plot([scale * x.value] * 2, [y.low, y.high], color=colour, lw=0.7)
            axis.plot(
                scale * x.value,
                y.value,
                _MARKERS[number % len(_MARKERS)],
                color=colour,
                ms=7,
                label=label,
            )
        _plain(axis)
    axes[0].set_xscale("symlog", linthresh=0.1)
    axes[0].set_xlim(left=-0.01)
    axes[0].set_xlabel("drift of neighbour nouns, % of what the prompt does", color=_INK)
    axes[1].set_xlabel("fidelity", color=_INK)
    axes[0].set_ylabel("held-out edits followed", color=_INK)
    _legend(figure, axes[0])
    _save(figure, path)


def masks(parts: Mapping[float, Part], path: Path) -> None:
    """Semantic drift of the word, and what is left of it, by the share of masked draws."""
    metrics = {"text cosine": "text-text cosine", "leakage": "leakage"}
    metrics |= {"fidelity": "fidelity", "editability": "edits"}
    ratios = sorted(parts)
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    axes = figure.subplots(1, len(metrics))
    for axis, (metric, title) in zip(axes, metrics.items(), strict=True):
        for number, label in enumerate(parts[ratios[0]].settings):
            found = [parts[ratio].mean("steps", label, metric) for ratio in ratios]
            colour = _COLOURS[number % len(_COLOURS)]
            # Beside each other, so that the intervals can be told apart.
            x = [ratio + 0.012 * (2 * number - 1) for ratio in ratios]
            axis.plot(
                x, [one.value for one in found], f"-{_MARKERS[number % len(_MARKERS)]}",
                color=colour, lw=1.4, ms=5, label=label,
            )  # fmt: skip
            for at, one in zip(x, found, strict=True):
                axis.plot([at, at], [one.low, one.high], color=colour, lw=0.8)
        axis.set_title(title, fontsize=10, loc="left", color=_INK)
        axis.set_xlabel("share of draws with the mask", color=_INK)
        axis.set_xticks(ratios)
        _plain(axis)
    _legend(figure, axes[0])
    _save(figure, path)


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(_SOFT)
    axis.tick_params(colors=_INK, length=0, which="both")
    axis.grid(alpha=0.4, color=_SOFT)


def _legend(figure: Figure, axis: Any) -> None:
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  frameon=False)  # fmt: skip


def _save(figure: Figure, path: Path) -> None:
    with matplotlib.rc_context({"svg.hashsalt": "textreg"}):
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
