"""Try settings of stage 2 on the embedded base from one stage 1, and print what each did.

    python benchmarks/settings_sweep.py --out runs/sweep \
        'prior=none' 'textreg.hard=true textreg.edit_weight=0.001' 'tuning.learning_rate=0.001'

Each argument is one run: settings by dotted key, over the base's own; --first has those of stage 1,
whose word alone is 'tuning.learning_rate=0 tuning.steps=1'. It is how the numbers of
src/textreg/toyland/textreg.yaml were chosen (docs/log.md); run again, finished runs are only read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from textreg.adapter.diffusers_files import EMBEDDING_FILE
from textreg.backbone import load
from textreg.concept import concept_noun, inspect_folder, read_picture
from textreg.demo.measures import EDITS, Measures, picture_change
from textreg.learning import learn
from textreg.sampling import PictureModel
from textreg.settings import build_run


def settings_of(text: str) -> dict[str, Any]:
    """Settings as typed: "a.b=1 c=x" as {"a.b": 1, "c": "x"}."""
    pairs = (word.split("=", 1) for word in text.split())
    return {key: yaml.safe_load(value) for key, value in pairs}


def main() -> None:
    """Run every setting and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="+", metavar="KEY=VALUE ...")
    parser.add_argument("--images", type=Path, default=Path("custom_datasets/data/cat"))
    parser.add_argument("--first", default="", metavar="KEY=VALUE ...", help="of stage 1")
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=16, help="pictures a prompt")
    arguments = parser.parse_args()
    concept = {"images": arguments.images, "noun": concept_noun(arguments.images.name)}
    flags = {"base": arguments.base, "concepts": [concept], "seed": arguments.seed}
    flags |= {"card_pictures": 0}
    first = build_run(flags | settings_of(arguments.first) | {"out": arguments.out / "stage1"})
    first = replace(first, tuning=replace(first.tuning, steps=0), prior="none")
    backbone = load(first.base)
    base = PictureModel(backbone)
    photos = [read_picture(p.path) for p in inspect_folder(arguments.images).pictures]
    measures = Measures(base, first.concepts[0], photos)
    learn(first, backbone=backbone)
    flags |= {"inversion.steps": 0, "inversion.embedding": first.out / EMBEDDING_FILE}
    class_prompt = f"a photo of a {first.concepts[0].noun}"
    plain = measures.draw(base, class_prompt, arguments.pictures).pictures
    for text in arguments.settings:
        name = hashlib.sha256(text.encode()).hexdigest()[:8]
        run = build_run(flags | settings_of(text) | {"out": arguments.out / name})
        adapters = learn(run, backbone=backbone)
        assert adapters is not None
        model = PictureModel(backbone, adapters[0])
        drawn = measures.draw(model, class_prompt, arguments.pictures).pictures
        shown = measures.draw(model, adapters[0].prompt, arguments.pictures).pictures
        edits = {
            value: measures.share(
                measures.draw(
                    model, template.replace("{}", run.concepts[0].words), arguments.pictures
                ).pictures,
                attribute,
                value,
            )
            for template, attribute, value in EDITS
        }
        row = {
            "first": arguments.first,
            "settings": text,
            "fidelity": measures.fidelity(shown),
            "edits": edits,
            "class change": picture_change(drawn, plain),
            "drift": measures.drift(model),
        }
        with (arguments.out / "rows.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(
            f"{text:60s} fidelity {row['fidelity']:.3f} "
            f"edits {' '.join(f'{k} {v:.2f}' for k, v in edits.items())} "
            f"class change {row['class change']:.3f} "
            f"drift {' '.join(f'{k} {v:.1e}' for k, v in row['drift'].items())}",
            flush=True,
        )


if __name__ == "__main__":
    main()
