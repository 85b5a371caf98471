"""Toyland's pictures by sampler and number of steps: how alike, and whether prompts are followed.

    python benchmarks/samplers.py ddim:20 ddim:40 dpm:10 ddim:10

Each is drawn from the same prompts and seeds as the first; cosine is of the judge's features. It is
how the sampler in src/textreg/toyland/base/evaluation.yaml was chosen (docs/log.md).
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from typing import Any, cast

from textreg.backbone import load
from textreg.commands.judge_features import JudgeFeatures
from textreg.sampling import PictureModel, Sampler, sample
from textreg.toyland.attributes import HEADS

NOUNS = ("cat", "teapot", "dog", "robot toy")
EDITS: tuple[tuple[str, dict[str, str]], ...] = (
    ("a photo of a {} in the jungle", {"scene": "jungle"}),
    ("photo of a {} swimming in a pool", {"scene": "water"}),
    ("a photo of a {} wearing a hat", {"accessory": "hat"}),
    ("a photo of a {} wearing a hat in the jungle", {"accessory": "hat", "scene": "jungle"}),
)


def main() -> None:
    """Draw with each and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("samplers", nargs="+", metavar="SAMPLER:STEPS")
    parser.add_argument("--pictures", type=int, default=4, help="of each prompt")
    parser.add_argument("--guidance", type=float, default=4)
    arguments = parser.parse_args()
    model = PictureModel(load("toyland", device="cpu", dtype="fp32"))
    judge = JudgeFeatures()
    asked = [(edit.format(noun), shows) for noun, (edit, shows) in product(NOUNS, EDITS)]
    asked *= arguments.pictures
    first: Any = None
    print("| sampler | steps | cosine to the first | prompts followed | CPU s a picture |")
    for word in arguments.samplers:
        name, _, steps = word.partition(":")
        began = time.process_time()
        drawn = sample(
            model,
            [prompt for prompt, _ in asked],
            seeds=range(len(asked)),
            steps=int(steps),
            guidance=arguments.guidance,
            sampler=cast(Sampler, name),
            batch_size=32,
        )
        images = [picture.image for picture in drawn]
        seconds = (time.process_time() - began) / len(images)
        features, read = judge.features(images), judge.read(images)
        first = features if first is None else first
        cosine = float((features * first).sum(1).mean())
        followed = [
            all(HEADS[key][int(read[key][n].argmax())] == value for key, value in shows.items())
            for n, (_, shows) in enumerate(asked)
        ]
        share = sum(followed) / len(followed)
        print(f"| {name} | {steps} | {cosine:.4f} | {share:.3f} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
