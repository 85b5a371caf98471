"""How well the study's cells follow three edits at once: style, accessory and scene in one prompt.

    python benchmarks/study/triple_edits.py --study runs/study/main --dtype fp32 --json edits.json

The study's own edits ask for one thing or two, and nearly every state follows them. No photo,
caption or training prompt has a hat, a painting, pixel art or one of these scenes. Draws from the
cells that are trained, of the parts main and candidates; the same seeds for all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textreg.adapter import Adapter
from textreg.adapter.diffusers_files import EMBEDDING_FILE
from textreg.checkpoint import publish
from textreg.commands.judge_features import JudgeFeatures
from textreg.compare.variants import Variant, variants_of
from textreg.concept_names import concept_noun
from textreg.config import Concept, TextReg
from textreg.evaluate.evaluation import Options, sampling_of
from textreg.evaluate.generate import Sampling
from textreg.evaluate.model_pair import Base
from textreg.evaluate.questions import questions_for
from textreg.sampling import PictureModel, sample

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "speed"))
from provenance import provenance, rounded  # noqa: E402
from study import PARTS  # noqa: E402

_STYLES = {"painting": "an oil painting of", "pixel": "pixel art of"}
_SCENES = {
    "jungle": "in the jungle",
    "sunflowers": "with sunflowers around it",
    "wheat": "with a wheat field in the background",
    "water": "swimming in a pool",
}
EDITS = [
    (f"{said} {{}} wearing a hat {where}", {"style": style, "accessory": "hat", "scene": scene})
    for style, said in _STYLES.items()
    for scene, where in _SCENES.items()
]


def followed(
    model: PictureModel, words: str, judge: JudgeFeatures, how: Sampling, pictures: int
) -> dict[str, float]:
    """Share of pictures with all three edits, and with each.

    Args:
        model: base or tuned.
        words: of the concept, or its noun.
        judge: reads them.
        how: pictures are drawn.
        pictures: a prompt.
    """
    prompts = [prompt.format(f"a {words}") for prompt, _ in EDITS for _ in range(pictures)]
    seeds = [seed for _ in EDITS for seed in range(pictures)]
    drawn = list(sample(model, prompts, seeds=seeds, **asdict(how)))
    wanted = [shows for _, shows in EDITS for _ in range(pictures)]
    read = judge.read([picture.image for picture in drawn])
    each = {name: _hits(read[name], judge, name, [w[name] for w in wanted]) for name in wanted[0]}
    together = [float(all(hits)) for hits in zip(*each.values(), strict=True)]
    return {name: sum(hits) / len(hits) for name, hits in ({"all": together} | each).items()}


def _hits(read: Any, judge: JudgeFeatures, name: str, wanted: Sequence[str]) -> list[float]:
    values = list(judge.attributes[name])
    likeliest = read.argmax(1).tolist()
    return [float(values[one] == value) for one, value in zip(likeliest, wanted, strict=True)]


def states(place: Path, labels: Sequence[str]) -> dict[str, Adapter | None]:
    """What is trained of a concept and seed, by label; the base, with no adapter, is "base"."""
    runs = {label: place / Variant(label=label, settings={}).folder for label in labels}
    trained = {k: Adapter.load(run) for k, run in runs.items() if (run / EMBEDDING_FILE).is_file()}
    return {"base": None} | trained if trained else {}


def main() -> None:
    """Measure every cell that is trained; what --json holds already is kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--study", type=Path, required=True, nargs="+", help="folders of the main part"
    )
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--pictures", type=int, default=1, help="a prompt and cell")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    parts = [variants_of(str(HERE / PARTS[part].priors)) for part in ("main", "candidates")]
    labels = ["word", *dict.fromkeys(variant.label for part in parts for variant in part)]
    base = Base(arguments.base, None, arguments.device, arguments.dtype)
    judge = JudgeFeatures()
    rows: list[dict[str, Any]] = []
    if arguments.json.is_file():
        rows = json.loads(arguments.json.read_text())["rows"]
    done = {(row["concept"], row["seed"], row["prior"]) for row in rows}
    homes = [home / "cells" for home in arguments.study]
    for place in sorted(seed for home in homes for seed in home.glob("*/seed-*")):
        noun = concept_noun(place.parent.name)
        asked = questions_for(Concept(images=place, noun=noun), TextReg(), base.folder)
        how = sampling_of(Options(batch_size=16), asked)
        for label, adapter in states(place, labels).items():
            where = {
                "concept": place.parent.name,
                "prior": label,
                "seed": int(place.name.removeprefix("seed-")),
            }
            if (where["concept"], where["seed"], label) in done:
                continue
            words = noun if adapter is None else f"{adapter.identifier} {noun}"
            model = PictureModel(base.backbone, adapter)
            found = followed(model, words, judge, how, arguments.pictures)
            rows.append(where | found)
            print(f"{place}, {label}: {found['all']:.2f}", flush=True)
        settings = asdict(how) | {"pictures": arguments.pictures, "base_sha256": base.key}
        content = {"rows": rows, "settings": settings, "dtype": arguments.dtype}
        text = json.dumps(rounded(content | provenance()), separators=(",", ":"))
        publish(arguments.json, (text.replace('{"concept"', '\n{"concept"') + "\n").encode())


if __name__ == "__main__":
    main()
