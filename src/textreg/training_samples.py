"""Pictures of every concept at certain steps, drawn with its weights as they then stand.

RUN/samples/000150/00.png ..., and samples.jsonl, which comes last: with it the step's are whole.
They are functions of the weights, so a step that a resumed run takes again would draw the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from textreg.adapter import Adapter
from textreg.adapter.model_card import card_prompts
from textreg.checkpoint import publish
from textreg.config import Run
from textreg.png_file import publish_png
from textreg.run_folder import RunFolder
from textreg.sample_prompts import sample_prompts
from textreg.sampling import PictureModel, sample
from textreg.training import Training

_LIST = "samples.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class StepPicture:
    """A picture of a concept at a step."""

    concept: str
    global_step: int
    prompt: str
    image: Image.Image


class TrainingSamples:
    """Draws what is due; `consumer` is given each picture, whether drawn now or found drawn."""

    def __init__(self, run: Run, consumer: Callable[[StepPicture], object] | None):
        self._run, self._consumer = run, consumer

    def take(self, training: Training, *, first: bool) -> None:
        """Draw the pictures of the step that was just taken, if they are due and not there.

        Args:
            training: after the step.
            first: it goes on from here. A kill may have left these pictures out; those that are
                there were given to the consumer then.

        Raises:
            UserError: a file cannot be written.
        """
        step, every = training.global_step, self._run.sample_every
        if step == 0 or step % every:
            return
        for concept, adapter in zip(training.active, training.adapters(), strict=True):
            folder = RunFolder(self._run).concept_folder(concept.name) / "samples" / f"{step:06}"
            there = (folder / _LIST).is_file()
            if not there:
                self._draw(PictureModel(training.backbone, adapter), self._prompts(adapter), folder)
            if self._consumer and not (first and there):
                for prompt, image in _read(folder):
                    picture = StepPicture(
                        concept=concept.name, global_step=step, prompt=prompt, image=image
                    )
                    self._consumer(picture)

    def _prompts(self, adapter: Adapter) -> list[str]:
        words = f"{adapter.identifier} {adapter.noun}"
        return sample_prompts(self._run, words) or card_prompts(adapter)

    def _draw(self, model: PictureModel, prompts: list[str], folder: Path) -> None:
        lines: list[str] = []
        seeds = range(len(prompts))
        drawn = sample(model, prompts, seeds=seeds, resolution=self._run.images.resolution)
        for number, picture in enumerate(drawn):
            name = f"{number:02}.png"
            publish_png(folder / name, picture.image)
            line = {"image": name, "prompt": picture.prompt, "seed": picture.seed}
            lines.append(json.dumps(line, ensure_ascii=False))
        publish(folder / _LIST, "".join(f"{line}\n" for line in lines).encode())


def _read(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Prompt and picture of each line of a step's list."""
    for line in (folder / _LIST).read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        with Image.open(folder / found["image"]) as image:
            yield found["prompt"], image.convert("RGB")
