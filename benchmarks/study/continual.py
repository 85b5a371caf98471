"""Several concepts in one model: what adding concepts does to the earlier ones and to the rest.

    python benchmarks/study/continual.py --study runs/study/main --json study-continual.json

Takes the adapters that the study's main part trained, each alone from the base, and adds them one
by one: the edits are summed by concatenating their factors, dW = sum_i s_i B_i A_i, never by
(sum B)(sum A), which has cross terms (docs/method.md). Each concept is drawn when it is added, and
at the end.

    A: mean fidelity of all concepts in the last model
    F: mean fidelity lost since each concept but the last was added
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textreg.adapter import Adapter
from textreg.adapter.diffusers_files import EMBEDDING_FILE
from textreg.backbone import Backbone
from textreg.checkpoint import publish
from textreg.commands.judge_features import JudgeFeatures
from textreg.compare.variants import Variant, variants_of
from textreg.concept import inspect_folder, read_picture
from textreg.config import Concept, TextReg
from textreg.evaluate.epsilon_drift import EpsilonDrift
from textreg.evaluate.generate import Sampling
from textreg.evaluate.model_pair import Base
from textreg.evaluate.options import Options, sampling_of
from textreg.evaluate.probe import TIMESTEPS, epsilon_pools
from textreg.evaluate.questions import Questions, questions_for
from textreg.sampling import PictureModel, sample

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "speed"))
from provenance import provenance, rounded  # noqa: E402
from study import PARTS  # noqa: E402

_PROMPTS = 8
"""Of a pool of drift."""


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


class Asked:
    """What is asked of every model; the base's side is computed once.

    Pools of drift: each concept's class prompt and its class elsewhere, together; nouns that no
    concept of the sequence has; other prompts; the empty one.
    """

    def __init__(self, base: Base, adapters: Mapping[str, Adapter], data: Path):
        self._judge = JudgeFeatures()
        self._photos: dict[str, Tensor] = {}
        for name in adapters:
            photos = [read_picture(p.path) for p in inspect_folder(data / name).pictures]
            self._photos[name] = self._judge.features(photos)
        taught = {adapter.noun for adapter in adapters.values()}
        pools: dict[str, list[str]] = {}
        for name, adapter in adapters.items():
            concept = Concept(images=data / name, noun=adapter.noun, identifier=adapter.identifier)
            self.questions = questions_for(concept, TextReg(), base.folder)
            some = epsilon_pools(concept, without(self.questions, taught), _PROMPTS)
            for pool, prompts in some.items():
                own = pool in ("class", "class_elsewhere")
                pools[pool] = [*pools.get(pool, ()), *prompts] if own else prompts
        model = PictureModel(base.backbone)
        self._drift = {
            pool: EpsilonDrift(model, prompts, num_timesteps=TIMESTEPS, seed=1000)
            for pool, prompts in pools.items()
        }

    def fidelity(self, model: PictureModel, name: str, prompt: str, how: Sampling, n: int) -> float:
        """Mean cosine of a concept's pictures and photos."""
        drawn = sample(model, [prompt] * n, seeds=range(n), **asdict(how))
        own = self._judge.features([picture.image for picture in drawn])
        return float((own @ self._photos[name].T).mean())

    def drift(self, model: PictureModel) -> dict[str, float]:
        """By pool, as a share of what the prompts do; the empty one's of what the class's do."""
        scale = {pool: float(asked.prompt_effect().mean()) for pool, asked in self._drift.items()}
        scale["null"] = scale["class"]
        return {pool: asked.measure(model) / scale[pool] for pool, asked in self._drift.items()}


def without(questions: Questions, nouns: set[str]) -> Questions:
    """The questions without neighbours that are concepts themselves."""
    left = tuple(noun for noun in questions.neighbours if noun not in nouns)
    return replace(questions, neighbours=left)


def measure_order(
    backbone: Backbone, adapters: Mapping[str, Adapter], asked: Asked, how: Sampling, pictures: int
) -> dict[str, Any]:
    """Add the concepts in order.

    Args:
        backbone: the base.
        adapters: by concept, each trained alone.
        asked: of each model.
        how: pictures are drawn.
        pictures: of a concept and model.

    Returns:
        "added": fidelity of each concept in the model that it came to last; "end": in the last
        model; "drift" of that by pool.
    """
    names, learned = list(adapters), list(adapters.values())

    def fidelity(number: int, count: int) -> float:
        model = PictureModel(backbone, summed(learned[:count], number))
        return asked.fidelity(model, names[number], learned[number].prompt, how, pictures)

    added = [fidelity(number, number + 1) for number in range(len(names))]
    end = [*(fidelity(number, len(names)) for number in range(len(names) - 1)), added[-1]]
    lost = [then - now for then, now in zip(added[:-1], end[:-1], strict=True)]
    return {
        "concepts": names,
        "added": added,
        "end": end,
        "drift": asked.drift(PictureModel(backbone, summed(learned, 0))),
        "A": sum(end) / len(end),
        "F": sum(lost) / len(lost),
    }


def main() -> None:
    """Measure every prior and seed that all concepts were trained with."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--study", type=Path, required=True, nargs="+", help="folders of the main part"
    )
    parser.add_argument(
        "--priors", help="rows of the main part, by comma; default: all that are trained"
    )
    parser.add_argument("--data", type=Path, default=Path("custom_datasets/data"))
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--pictures", type=int, default=16, help="pictures a concept and model")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    homes = {
        place.name: home for home in arguments.study for place in sorted((home / "cells").iterdir())
    }
    labels = [variant.label for variant in variants_of(str(HERE / PARTS["main"].priors))]
    wanted = labels if arguments.priors is None else arguments.priors.split(",")
    if missing := sorted(set(wanted) - set(labels)):
        parser.error(f"--priors: {missing[0]!r} is none of {', '.join(labels)}")
    base = Base(arguments.base, None, arguments.device, arguments.dtype)
    rows: list[dict[str, Any]] = []
    asked: Asked | None = None
    for seed in range(PARTS["main"].seeds):
        for prior in (label for label in labels if label in wanted):
            places = {
                c: home / "cells" / c / f"seed-{seed}" / Variant(label=prior, settings={}).folder
                for c, home in homes.items()
            }
            if not all((place / EMBEDDING_FILE).is_file() for place in places.values()):
                continue
            adapters = {name: Adapter.load(place) for name, place in places.items()}
            if any(a.edited_tokens != "all" for a in adapters.values()):
                continue  # a gate is a concept's own: gated edits do not meet
            asked = asked or Asked(base, adapters, arguments.data)
            how = sampling_of(Options(batch_size=16), asked.questions)
            found = measure_order(base.backbone, adapters, asked, how, arguments.pictures)
            rows.append({"prior": prior, "seed": seed} | found)
            print(f"{prior}, seed {seed}: A {found['A']:.3f}, F {found['F']:.3f}", flush=True)
            settings = asdict(how) | {"pictures": arguments.pictures, "base_sha256": base.key}
            content = {"rows": rows, "settings": settings, "dtype": arguments.dtype}
            report = json.dumps(rounded(content | provenance()), indent=1)
            publish(arguments.json, f"{report}\n".encode())


if __name__ == "__main__":
    main()
