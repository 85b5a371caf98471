"""docs/study.md and its plots, from benchmarks/results/study-*.json and nothing else.

    python benchmarks/study/page.py

Replaces what stands between the page's marks; what was not run yet is said to be.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "speed"))
import plots
import sections
from answer import against_each, counts, price
from claims import claims
from continual_section import continual
from equal_time import at_equal_time
from marked_page import filled, where
from merging import made_of
from provenance import ROOT
from results import Part

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "study.md"
CLAIMED = ("textreg, the paper's", "textreg hard + context")
"""Rows of priors.yaml: the method as published, and the preset."""
_MAIN = ("short", "counts", "time", "claims", "all", "textreg", "decay", "hard", "falsifiers")
_MAIN += ("gains",)


def blocks(results: Path, images: Path) -> dict[str, str]:
    """What stands between each pair of marks; the plots are written into `images`."""
    main = Part.read(results / "study-main.json")
    if main is None:
        missing = f"{sections.NOT_RUN} benchmarks/results/study-main.json is not there."
        found = dict.fromkeys(_MAIN, missing)
    else:
        found = _of_main(main, images)
    found["masks"] = _masks(results, images)
    found["ablations"] = _one(results / "study-ablations.json")
    found["unmasked"] = _one(results / "study-unmasked.json", "textreg hard", "none")
    found["candidates"] = _one(results / "study-candidates.json", "textreg hard", "none")
    found["presets"] = _section(
        results / "study-presets.json",
        lambda part: [sections.minus(part), sections.at_equal_fidelity(part)],
    )
    found["rivals"] = _against_all(results / "study-rivals.json")
    several = results / "study-continual.json"
    found["continual"] = sections.NOT_RUN
    if several.is_file():
        report = json.loads(several.read_text())
        told = source(several, {"all": report})
        found["continual"] = f"{continual(report)}\n\n{told}"
    return found


def _of_main(part: Part, images: Path) -> dict[str, str]:
    rivals = [
        label for prior in sections.RIVALS if prior != "weight-decay" for label in part.alone(prior)
    ]
    decays = part.alone("weight-decay")
    shown = ["![Fidelity against drift](images/study-pareto.png)"]
    plots.pareto(part, images / "study-pareto.png")
    if "points" in part.content:
        plots.equal_fidelity(part, rivals + decays, images / "study-equal-fidelity.svg")
        shown.append("![Drift at equal fidelity](images/study-equal-fidelity.svg)")
        shown.append("Filled marks are decided, open ones are not.")
    held_out = ""
    if part.has("editability"):
        plots.edits(part, images / "study-edits.svg")
        held_out = "\n\n![Edits, drift and fidelity](images/study-edits.svg)"
    told = source(RESULTS / "study-main.json", _groups(part))
    if "equal_time" in part.content:
        shown.append(sections.step_seconds(part))
    return {
        "gains": sections.gains(part),
        "claims": claims(part, CLAIMED),
        "short": _short(part, rivals + decays),
        "counts": counts(part),
        "time": _at_equal_time(part, rivals + decays),
        "all": "\n\n".join([sections.amount(part), sections.all_priors(part), *shown, told]),
        "textreg": sections.rivals(part, rivals, part.kinds),
        "decay": sections.rivals(part, decays, ["steps"] if "steps" in part.kinds else []),
        "hard": sections.hard_mode(part),
        "falsifiers": sections.falsifiers(part) + held_out,
    }


def _short(part: Part, rivals: Sequence[str]) -> str:
    own = CLAIMED[-1]
    told = [sections.amount(part)]
    if "points" in part.content and own in part.settings:
        others = [label for label in part.settings if label != own]
        told += [against_each(part, own, rivals), price(part, own, others)]
    return "\n\n".join([*told, sections.held(part)])


def _at_equal_time(part: Part, rivals: Sequence[str]) -> str:
    if "equal_time" not in part.content or "points" not in part.content:
        return sections.NOT_RUN
    own = [label for label in CLAIMED if label in part.settings]
    return at_equal_time(part, own, rivals)


def _masks(results: Path, images: Path) -> str:
    files = {
        int(match[1]) / 100: path
        for path in results.glob("study-mask-*.json")
        if (match := re.fullmatch(r"study-mask-(\d+)\.json", path.name))
    }
    parts = {ratio: Part(json.loads(files[ratio].read_text())) for ratio in sorted(files)}
    text = sections.masks(parts)
    if not parts:
        return text
    plots.masks(parts, images / "study-masks.svg")
    run = [f"Ratio {ratio:g}: {sections.amount(part)}" for ratio, part in parts.items()]
    told = [source(files[ratio], _groups(part)) for ratio, part in parts.items()]
    plot = "![The mask's share](images/study-masks.svg)"
    return "\n\n".join(["  \n".join(run), text, plot, *told])


def _one(path: Path, *references: str) -> str:
    return _section(path, lambda part: [sections.minus(part, *references)])


def _against_all(path: Path) -> str:
    def shown(part: Part) -> list[str]:
        others = [label for label in part.settings if label not in part.ours()]
        return [sections.all_priors(part), sections.rivals(part, others, [])]

    return _section(path, shown)


def _section(path: Path, shown: Callable[[Part], Sequence[str]]) -> str:
    """How much was run, what is shown of it, and where it came from; or that it was not run."""
    part = Part.read(path)
    if part is None:
        return sections.NOT_RUN
    told = source(path, _groups(part))
    return "\n\n".join([sections.amount(part), *shown(part), told])


def source(path: Path, groups: Mapping[str, Mapping[str, Any]]) -> str:
    """The file's name, and how each group of its cells came about."""
    lines = [f"- {cells}: {where(made)}, {made['dtype']}" for cells, made in groups.items()]
    return "\n".join([f"[{path.name}](../benchmarks/results/{path.name}):", "", *lines])


def _groups(part: Part) -> dict[str, Mapping[str, Any]]:
    return {_cells_of(entry["cells"]): entry for entry in made_of(part.content)}


def _cells_of(cells: Sequence[Sequence[Any]]) -> str:
    names = list(dict.fromkeys(concept for concept, _ in cells))
    seeds = sorted({str(seed) for _, seed in cells})
    return f"{', '.join(names)}, seed {', '.join(seeds)}"


def main() -> None:
    """Write page and plots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    images = arguments.page.parent / "images"
    images.mkdir(exist_ok=True)
    written = filled(arguments.page.read_text(), blocks(arguments.results, images), PAGE.name)
    arguments.page.write_text(written)


if __name__ == "__main__":
    main()
