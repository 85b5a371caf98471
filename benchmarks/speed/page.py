"""docs/performance.md and its plot, from benchmarks/results: the text is ours, the figures theirs.

    python benchmarks/speed/page.py

Replaces what stands between the marks of each table; a result that is missing is said to be.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marked_page import filled, table, where
from provenance import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "images" / "scaling.svg"
Report = dict[str, Any]

PEERS = {
    "inversion": "`textual_inversion.py`",
    "lora": "`train_dreambooth_lora.py`",
    "lora-prior": "the same, with prior preservation",
    "custom": "`train_custom_diffusion.py`",
}


def peers(report: Report) -> str:
    """Ratios against each example."""
    rows: list[list[str]] = []
    for row in report["rows"]:
        ours, theirs = row["ours"], row["theirs"]
        memory = (
            f"{ours['peak_gibibytes']:.2f} / {theirs['peak_gibibytes']:.2f}"
            if "peak_gibibytes" in ours
            else "not measured"
        )
        rows.append(
            [
                PEERS[row["peer"]],
                row["work"],
                str(row["concepts"]),
                f"{1 / ours['seconds']:.3g}",
                f"{1 / theirs['seconds']:.3g}",
                f"**{row['ratio']:.2f}**",
                f"{row['ratio_of_whole_time']:.2f}",
                *(
                    f"{row[key]:.2f}" if key in row else "not measured"
                    for key in ("ratio_of_cpu_time", "ratio_of_fastest")
                ),
                memory,
            ]
        )
    heads = ["peer", "work", "our concepts", "ours, concept-steps/s", "theirs", "ratio"]
    heads += ["of whole time", "of CPU time", "of fastest", "peak GiB, ours / theirs"]
    return table(heads, rows)


def scaling(report: Report) -> str:
    """Seconds and memory by number of concepts."""
    rows = [
        [
            str(row["concepts"]),
            f"{1e3 * row['inversion_seconds']:.1f}",
            f"{1e3 * row['tuning_seconds']:.1f}",
            f"{row['whole_run_seconds']:.1f}",
            f"{row['peak_gibibytes']:.2f}",
        ]
        for row in report["rows"]
    ]
    heads = ["concepts", "stage 1, ms a concept-step", "stage 2", "s a concept, whole run"]
    return table([*heads, "peak GiB"], rows)


def parts(report: Report) -> str:
    """Shares of a step by stage and number of concepts."""
    names = list(report["stages"][0]["shares"])
    columns = [
        [
            f"{row['stage']}, {row['concepts']}",
            f"{1e3 * row['seconds_a_step']:.0f}",
            *(f"{100 * row['shares'][name]:.1f}" for name in names),
        ]
        for row in report["stages"]
    ]
    heads = ["part", f"{_clock(report)}ms a step", *(f"{name}, %" for name in names)]
    first, *others = [list(row) for row in zip(heads, *columns, strict=True)]
    return table(first, others)


def textreg(report: Report) -> str:
    """What TextReg costs of a step."""
    rows = [
        [
            str(row["concepts"]),
            "hard" if row["hard"] else "soft",
            f"{1e3 * row['terms_seconds']:.2f}",
            f"{1e3 * row['constraint_seconds']:.2f}",
            f"{1e3 * row['seconds_a_step']:.1f}",
            f"{100 * row['share']:.1f} %",
        ]
        for row in report["textreg"]
    ]
    unit = f"{_clock(report)}ms"
    heads = ["concepts", "mode", f"terms, {unit}", f"constraint, {unit}", f"step, {unit}", "share"]
    return table(heads, rows)


def sampling(report: Report) -> str:
    """Seconds a picture of both."""
    rows = [
        [
            row["model"],
            str(row["batch"]),
            f"{row['seconds_a_picture']['ours']:.3f}",
            f"{row['seconds_a_picture']['theirs']:.3f}",
            f"**{row['ratio']:.2f}**",
            f"{row['mean_difference_of_pixels']:.3f}",
        ]
        for row in report["sampling"]
    ]
    heads = ["model", "batch", f"ours, {_clock(report)}seconds a picture", "diffusers", "ratio"]
    return table([*heads, "mean difference of pixels, of 255"], rows)


def _clock(report: Report) -> str:
    """What stands before a unit of time: CPU, where it is not the wall's."""
    return "CPU " if report["settings"]["clock"] == "cpu" else ""


def large_pages(report: Report) -> str:
    """Milliseconds of a concept-step in pages of either size."""
    rows = [
        [
            row["dtype"],
            str(row["concepts"]),
            *(
                f"{1e3 * row[stage]['small']:.1f} / {1e3 * row[stage]['large']:.1f} "
                f"(**{row[stage]['ratio']:.2f}**)"
                for stage in ("inversion", "tuning")
            ),
            " / ".join(f"{row['peak_gibibytes'][way]:.2f}" for way in ("small", "large")),
        ]
        for row in report["rows"]
    ]
    heads = ["precision", "concepts", "stage 1, ms a concept-step, small / large (ratio)"]
    return table([*heads, "stage 2", "peak GiB, small / large"], rows)


def sd15(report: Report) -> str:
    """True size: time of a sample-step and utilisation."""
    rows: list[list[str]] = []
    for row in report["rows"]:
        used = row["utilisation"]["tuning"]
        rows.append(
            [
                str(row["concepts"]),
                f"{row['milliseconds_a_sample_step']['inversion']:.0f}",
                f"{row['milliseconds_a_sample_step']['tuning']:.0f}",
                "; ".join(f"{100 * share:.0f} % of {name}" for name, share in used.items()),
                f"{row['seconds_of_a_concept'] / 60:.1f}",
                f"{row['minutes_of_39_concepts']:.0f}",
                f"{100 * row['textreg_share']:.2g} %",
                f"{row['peak_gibibytes']:.1f}",
            ]
        )
    heads = ["concepts", "stage 1, ms a sample-step", "stage 2", "utilisation, stage 2"]
    return table(
        [*heads, "minutes a concept", "minutes for 39", "TextReg's share", "peak GiB"], rows
    )


def operators(report: Report) -> str:
    """Where the time of a pass goes at true size, by number of concepts."""
    columns = {
        f"{row['concepts']} concept{'s' * (row['concepts'] > 1)}": {
            one["operator"]: one for one in row["operators"]
        }
        for row in report["rows"]
    }
    names = list(dict.fromkeys(name for own in columns.values() for name in own))
    rows = [[f"`{name}`", *(_share(own.get(name)) for own in columns.values())] for name in names]
    return table(["operator", *columns], rows)


def _share(one: Report | None) -> str:
    return "" if one is None else f"{100 * one['share']:.1f} % in {one['calls']}"


TABLES: dict[str, tuple[str, Callable[[Report], str]]] = {
    "peers": ("peers-cpu.json", peers),
    "peers fp32": ("peers-fp32-cpu.json", peers),
    "peers sd15": ("peers-sd15-cpu.json", peers),
    "large pages": ("large_pages-cpu.json", large_pages),
    "scaling": ("scaling-cpu.json", scaling),
    "scaling bf16": ("scaling-bf16-cpu.json", scaling),
    "parts": ("step-cpu.json", parts),
    "textreg": ("step-cpu.json", textreg),
    "sampling": ("step-cpu.json", sampling),
    "sd15": ("sd15-cpu.json", sd15),
    "sd15 operators": ("sd15-cpu.json", operators),
    "sdxl": ("sdxl-cpu.json", sd15),
    "sd15 cuda": ("sd15-cuda.json", sd15),
}


def blocks(results: Path) -> dict[str, str]:
    """Each table, or that it is missing."""
    found: dict[str, str] = {}
    for name, (file, write) in TABLES.items():
        path = results / file
        if path.is_file():
            report = json.loads(path.read_text())
            source = f"[{file}](../benchmarks/results/{file}): {where(report)}."
            found[name] = f"{write(report)}\n\n{source}"
        else:
            found[name] = f"Not measured yet: benchmarks/results/{file} is not there."
    return found


def plot(reports: dict[str, Report], path: Path) -> None:
    """Seconds a concept by number of concepts and precision; the same SVG for the same figures."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "textreg"
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    counts: list[int] = []
    for precision, report in reports.items():
        counts = [row["concepts"] for row in report["rows"]]
        seconds = [row["whole_run_seconds"] for row in report["rows"]]
        axes.plot(counts, seconds, marker="o", label=precision)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.legend()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("concepts in a run")
    axes.set_ylabel("seconds a concept")
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Write the page and the plot."""
    PAGE.write_text(filled(PAGE.read_text(), blocks(RESULTS), PAGE.name))
    files = {"fp32": RESULTS / "scaling-cpu.json", "bf16": RESULTS / "scaling-bf16-cpu.json"}
    reports = {name: json.loads(f.read_text()) for name, f in files.items() if f.is_file()}
    if reports:
        plot(reports, PLOT)


if __name__ == "__main__":
    main()
