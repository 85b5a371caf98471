"""`textreg evaluate`: flags to an evaluation, progress to the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from textreg.errors import UserError
from textreg.interrupt import stop_flag

if TYPE_CHECKING:
    from textreg.evaluate.features import Extractor


def evaluate_command(arguments: argparse.Namespace) -> int:
    """Evaluate a run; returns the exit code."""
    with stop_flag():
        return _evaluate(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    from textreg.commands.progress import new_progress
    from textreg.evaluate import Options, evaluate

    names = ("out", "images", "prompts", "num_images", "epsilon_prompts", "seed", "steps")
    names += ("guidance", "sampler", "batch_size", "base", "device", "dtype")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    for name in ("steps", "batch_size"):
        if given.get(name) == 0:
            raise UserError(f"--{name.replace('_', '-')} is 0; it must be at least 1")
    extractors = [
        extractor_of(word, arguments.device or "auto") for word in arguments.features or ["judge"]
    ]
    with new_progress() as progress:
        task = progress.add_task("", total=1, note="")
        report = evaluate(
            arguments.run,
            extractors,
            Options(**given),
            tell=lambda step, done, total: progress.update(
                task, description=step, completed=done, total=total
            ),
        )
        progress.update(task, description="done", completed=1, total=1)
    for line in report["left_out"]:
        print(f"left out: {line}")
    for concept, sentence in report["summary"]["verdicts"].items():
        print(f"{concept}: {sentence}")
    print((arguments.out or arguments.run) / "report.html")
    return 0


def extractor_of(word: str, device: str) -> Extractor:
    """The feature extractor that a word of --features names.

    Raises:
        UserError: no such extractor or device, or its folder does not fit.
    """
    name, _, folder = word.partition(":")
    if name == "judge" and not folder:
        from textreg.commands.judge_features import JudgeFeatures

        return JudgeFeatures()
    if name in ("clip", "dinov2") and folder:
        from textreg.evaluate.pretrained_features import ClipFeatures, Dinov2Features

        kind = ClipFeatures if name == "clip" else Dinov2Features
        return kind(Path(folder).expanduser(), device)
    raise UserError(f"--features {word!r}: must be judge, clip:FOLDER or dinov2:FOLDER")
