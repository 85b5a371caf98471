"""Fidelity against drift over the steps of stage 2, a line each prior, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

PANELS = {
    "class": "the class prompt",
    "class_elsewhere": "the class in other prompts",
    "neighbour": "neighbour nouns",
    "general": "other prompts",
}
_COLOURS = ("#57534e", "#c2410c", "#0f766e", "#6d28d9", "#0369a1", "#a16207", "#be185d", "#4d7c0f")
_COLOURS += ("#1d4ed8", "#dc2626", "#0891b2", "#7c2d12", "#9333ea")
_MARKERS = "osD^vPX*"
_INK, _SOFT = "#44403c", "#d6d3d1"
_LINEAR_BELOW = 0.1


def draw_pareto(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Draw the curves; up and to the left is better, rings are the front over all priors.

    Args:
        curves: as `summary.curves` gives them.
    """
    with matplotlib.rc_context({"font.size": 10}):
        rows = -(-len(curves) // 4)
        figure = Figure(figsize=(15, 4.2 + 0.22 * rows), dpi=110, layout="constrained")
        axes = figure.subplots(1, len(PANELS), sharey=True)
        for axis, (pool, title) in zip(axes, PANELS.items(), strict=True):
            for number, (label, points) in enumerate(curves.items()):
                colour = _COLOURS[number % len(_COLOURS)]
                marker = _MARKERS[number % len(_MARKERS)]
                _draw_line(axis, pool, label, points, colour, marker)
            # A prior that holds a prompt exactly has drift 0, which no logarithm shows.
            axis.set_xscale("symlog", linthresh=_LINEAR_BELOW)
            axis.set_xlim(left=-_LINEAR_BELOW / 8)
            axis.set_title(f"drift of {title}", fontsize=10, color=_INK, loc="left")
            axis.set_xlabel("% of what the prompt does", color=_INK)
            axis.spines[["top", "right"]].set_visible(False)
            axis.spines[["left", "bottom"]].set_color(_SOFT)
            axis.tick_params(colors=_INK, length=0, which="both")
            axis.grid(alpha=0.4, color=_SOFT)
        axes[0].set_ylabel("fidelity", color=_INK)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def _draw_line(
    axis: Any, pool: str, label: str, points: Sequence[Mapping[str, Any]], colour: str, marker: str
) -> None:
    x = [100 * point["drift"][pool]["value"] for point in points]
    y = [point["fidelity"]["value"] for point in points]
    axis.plot(x, y, "-", color=colour, lw=1.6, marker=marker, ms=4.5, label=label)
    for point, right, up in zip(points, x, y, strict=True):
        low, high = (100 * limit for limit in point["drift"][pool]["interval"])
        axis.plot([low, high], [up, up], color=colour, lw=0.8, alpha=0.5)
        axis.plot([right, right], point["fidelity"]["interval"], color=colour, lw=0.8, alpha=0.5)
    ringed = [n for n, point in enumerate(points) if point["on_front"][pool]]
    axis.plot(
        [x[n] for n in ringed],
        [y[n] for n in ringed],
        "o",
        ms=9,
        mfc="none",
        mec=colour,
        lw=0,
    )
    axis.annotate(str(points[-1]["step"]), (x[-1], y[-1]), color=colour, fontsize=8,
                  xytext=(4, 4), textcoords="offset points")  # fmt: skip
