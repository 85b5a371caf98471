"""Loss and drift over the steps of a run, from its metrics.jsonl, as one SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_COLOURS = {"class": "#0f766e", "neighbour": "#c2410c", "general": "#6d28d9", "null": "#78716c"}
_INK, _SOFT = "#44403c", "#d6d3d1"
_WINDOW = 25


def draw_curves(lines: Sequence[dict[str, Any]]) -> str:
    """Draw the denoising loss of both stages and, in stage 2, text shift by prompt pool.

    Args:
        lines: one concept's, of metrics.jsonl.

    Returns:
        A data URL, or nothing if there are no lines.
    """
    if not lines:
        return ""
    watched = [line for line in lines if line.get("drift")]
    with matplotlib.rc_context({"svg.hashsalt": "textreg", "font.size": 10}):
        figure = Figure(figsize=(10.4, 2.9), layout="constrained")
        loss, drift = figure.subplots(1, 2)
        _loss(loss, lines)
        _drift(drift, watched)
        for axis in (loss, drift):
            axis.spines[["top", "right"]].set_visible(False)
            axis.spines[["left", "bottom"]].set_color(_SOFT)
            axis.tick_params(colors=_INK, length=0)
            axis.grid(alpha=0.4, color=_SOFT)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _loss(axis: Axes, lines: Sequence[dict[str, Any]]) -> None:
    # A step that was not taken may have no loss.
    lines = [line for line in lines if line["losses"]["denoising"] is not None]
    step = np.array([line["global_step"] for line in lines])
    values = np.array([line["losses"]["denoising"] for line in lines])
    axis.plot(step, values, color=_SOFT, lw=0.6)
    window = min(_WINDOW, len(values))
    smooth = np.convolve(values, np.ones(window) / window, "valid")
    axis.plot(step[window - 1 :], smooth, color=_COLOURS["class"], lw=1.8)
    second = [line["global_step"] for line in lines if line["stage"] == "tuning"]
    if second and second[0] > step[0]:
        axis.axvline(second[0], color=_INK, lw=0.8, ls=":")
        axis.annotate(" stage 2", (second[0], values.max()), color=_INK, fontsize=9, va="top")
    axis.set_title(f"denoising loss, mean of {window} steps", fontsize=10, color=_INK, loc="left")
    axis.set_xlabel("step", color=_INK)


def _drift(axis: Axes, lines: Sequence[dict[str, Any]]) -> None:
    for pool, colour in _COLOURS.items():
        values = [100 * line["drift"][pool] for line in lines if pool in line["drift"]]
        if values:
            # Class and null are often both at 0; dashes leave the one below to be seen.
            dash = "--" if pool == "null" else "-"
            axis.plot([x["step"] for x in lines], values, dash, color=colour, lw=1.8, label=pool)
    axis.set_title("text shift of keys and values, %", fontsize=10, color=_INK, loc="left")
    axis.set_xlabel("step of stage 2", color=_INK)
    axis.set_ylim(bottom=0)
    if lines:
        axis.legend(frameon=False, fontsize=9, labelcolor=_INK)
