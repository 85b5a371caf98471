"""Several concepts after one another: what adding concepts does to the earlier ones and the class.

    python benchmarks/study/continual.py --study runs/study/main --json study-continual.json

Takes the adapters that the study's main part trained, each alone from the base, and adds them one
by one: the edits are summed by concatenating their factors, dW = sum_i s_i B_i A_i, never by
(sum B)(sum A), which has cross terms (METHOD.md 7.5). Each concept is drawn when it is added, and
at the end.

    A: mean fidelity of all concepts in the last model
    F: mean fidelity lost since each concept was added
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
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


def measures_of(
    backbone: Backbone, adapters: Mapping[str, Adapter], data: Path
) -> dict[str, Measures]:
    """What is asked of each concept; the base's side is computed here, once for all priors."""
    base = PictureModel(backbone)
    return {
        name: Measures(
            base,
            Concept(images=data / name, noun=adapter.noun, identifier=adapter.identifier),
            [read_picture(p.path) for p in inspect_folder(data / name).pictures],
        )
        for name, adapter in adapters.items()
    }


def measure_order(
    backbone: Backbone,
    adapters: Mapping[str, Adapter],
    measures: Mapping[str, Measures],
    pictures: int,
) -> dict[str, Any]:
    """Add the concepts in order.

    Args:
        backbone: the base.
        adapters: by concept, each trained alone.
        measures: by concept.
        pictures: of a concept and model.

    Returns:
        "added": fidelity of each concept in the model that it came to last; "end": in the last
        model; "drift" of that by concept and pool, as a share of what the prompts do.
    """
    names, learned = list(adapters), list(adapters.values())

    def fidelity(number: int, count: int) -> float:
        model = PictureModel(backbone, summed(learned[:count], number))
        own = measures[names[number]]
        return own.fidelity(own.draw(model, learned[number].prompt, pictures).pictures)

    added = [fidelity(number, number + 1) for number in range(len(names))]
    end = [*(fidelity(number, len(names)) for number in range(len(names) - 1)), added[-1]]
    last = PictureModel(backbone, summed(learned, 0))
    drift = {
        name: {
            pool: asked.measure(last) / float(asked.prompt_effect().mean())
            for pool, asked in measures[name].drift_pools.items()
            if pool != "null"
        }
        for name in names
    }
    lost = [then - now for then, now in zip(added, end, strict=True)]
    return {
        "concepts": names,
        "added": added,
        "end": end,
        "drift": drift,
        "A": sum(end) / len(end),
        "F": sum(lost) / len(lost),
    }


def main() -> None:
    """Measure every prior and seed that all concepts were trained with."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--study", type=Path, required=True, nargs="+", help="folders of the main part"
    )
    parser.add_argument("--priors", help="rows of the study, by comma; default: all")
    parser.add_argument("--data", type=Path, default=Path("custom_datasets/data"))
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--pictures", type=int, default=16, help="pictures a concept and model")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    studies = {home: json.loads((home / "compare.json").read_text()) for home in arguments.study}
    homes = {row["concept"]: home for home, own in studies.items() for row in own["rows"]}
    seeds = min(own["settings"]["seeds"] for own in studies.values())
    first, *others = studies.values()
    priors = [prior for prior in first["priors"] if all(prior in own["priors"] for own in others)]
    if arguments.priors is not None:
        asked = arguments.priors.split(",")
        if missing := sorted(set(asked) - set(priors)):
            parser.error(f"--priors: {missing[0]!r} is none of {', '.join(priors)}")
        priors = [prior for prior in priors if prior in asked]
    backbone = load(arguments.base, device=arguments.device, dtype=arguments.dtype)
    rows: list[dict[str, Any]] = []
    measures: dict[str, Measures] = {}
    for seed in range(seeds):
        for prior in priors:
            places = {
                c: home / "cells" / c / f"seed-{seed}" / folder(prior) for c, home in homes.items()
            }
            adapters = {name: Adapter.load(place) for name, place in places.items()}
            if any(a.edited_tokens != "all" for a in adapters.values()):
                continue  # a gate is a concept's own: gated edits do not meet
            measures = measures or measures_of(backbone, adapters, arguments.data)
            found = measure_order(backbone, adapters, measures, arguments.pictures)
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
