"""Several concepts after one another: what adding concepts does to the earlier ones and the class.

    python benchmarks/study/continual.py --study runs/study/main --json study-continual.json

Takes the adapters that the study's main part trained, each alone from the base, and adds them one
by one: the edits are summed by concatenating their factors, dW = sum_i s_i B_i A_i, never by
(sum B)(sum A), which has cross terms (METHOD.md 7.5). After each, every concept so far is drawn.

    A: mean fidelity of all concepts in the last model
    F: mean fidelity lost since each concept stood alone
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from textreg.adapter import Adapter
from textreg.backbone import Backbone, load
from textreg.checkpoint import publish
from textreg.compare.variants import Variant
from textreg.concept import inspect_folder, read_picture
from textreg.config import Concept
from textreg.demo.measures import Measures
from textreg.sampling import PictureModel

sys.path.append(str(Path(__file__).parents[1] / "speed"))
from provenance import provenance, rounded


def summed(adapters: Sequence[Adapter], shown: int) -> Adapter:
    """One concept's word over the sum of all edits: factors concatenated, scales in B."""
    names = adapters[0].factors
    factors = {
        name: (
            torch.cat([a.factors[name][0] for a in adapters]),
            torch.cat([a.factors[name][1] * (a.alpha / a.rank) for a in adapters], dim=1),
        )
        for name in names
    }
    rank = sum(a.rank for a in adapters)
    return replace(adapters[shown], factors=factors, alpha=float(rank))


def measure_order(
    backbone: Backbone, adapters: dict[str, Adapter], data: Path, pictures: int
) -> dict[str, Any]:
    """Add the concepts in order; fidelity[k][i] is concept i after k + 1 concepts."""
    base = PictureModel(backbone)
    measures = {
        name: Measures(
            base,
            Concept(images=data / name, noun=adapter.noun, identifier=adapter.identifier),
            [read_picture(p.path) for p in inspect_folder(data / name).pictures],
        )
        for name, adapter in adapters.items()
    }
    names, fidelity, drift = list(adapters), [], []
    for count in range(1, len(names) + 1):
        so_far = [adapters[name] for name in names[:count]]
        row = []
        for i, name in enumerate(names[:count]):
            model = PictureModel(backbone, summed(so_far, i))
            drawn = measures[name].draw(model, so_far[i].prompt, pictures).pictures
            row.append(measures[name].fidelity(drawn))
        fidelity.append(row)
        model = PictureModel(backbone, summed(so_far, 0))
        drift.append({name: measures[name].drift(model) for name in names})
    last = fidelity[-1]
    return {
        "concepts": names,
        "fidelity": fidelity,
        "drift": drift,
        "A": sum(last) / len(last),
        "F": sum(fidelity[i][i] - last[i] for i in range(len(last))) / len(last),
    }


def main() -> None:
    """Measure every prior and seed that the study trained on all concepts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--study", type=Path, required=True, help="folder of the main part")
    parser.add_argument("--data", type=Path, default=Path("custom_datasets/data"))
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--pictures", type=int, default=16, help="pictures a concept and model")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    study = json.loads((arguments.study / "compare.json").read_text())
    concepts = list(dict.fromkeys(row["concept"] for row in study["rows"]))
    backbone = load(arguments.base, device=arguments.device, dtype=arguments.dtype)
    rows: list[dict[str, Any]] = []
    for seed in range(study["settings"]["seeds"]):
        for prior in study["priors"]:
            places = {
                c: arguments.study / "cells" / c / f"seed-{seed}" / folder(prior) for c in concepts
            }
            adapters = {name: Adapter.load(place) for name, place in places.items()}
            if any(a.edited_tokens != "all" for a in adapters.values()):
                continue  # a gate is a concept's own: gated edits do not meet
            found = measure_order(backbone, adapters, arguments.data, arguments.pictures)
            rows.append({"prior": prior, "seed": seed} | found)
            print(f"{prior}, seed {seed}: A {found['A']:.3f}, F {found['F']:.3f}", flush=True)
            content = {"rows": rows, "pictures": arguments.pictures, "dtype": arguments.dtype}
            report = json.dumps(rounded(content | provenance()), indent=1)
            publish(arguments.json, f"{report}\n".encode())


def folder(prior: str) -> str:
    """A prior's folder in the study."""
    return Variant(label=prior, settings={}).folder


if __name__ == "__main__":
    main()
