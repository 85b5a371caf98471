"""Runs of a few steps on the tiny base, and what to compare of them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from torch import nn

from textreg.backbone import Backbone
from textreg.config import Concept, Images, Inversion, Run, Tuning
from textreg.trainer import trainings
from textreg.training import Training

IDENTIFIERS = ("<krk1>", "<vox2>", "<zub3>")


def tiny_run(base: Path, out: Path, *pictures: Path, **changes: Any) -> Run:
    """3 + 3 steps of rank 2 on views of 16 x 16 pixels, one concept a folder, named by its noun."""
    settings: dict[str, Any] = {
        "concepts": tuple(
            Concept(images=folder, noun=folder.name, identifier=identifier)
            for folder, identifier in zip(pictures, IDENTIFIERS, strict=False)
        ),
        "images": Images(resolution=16, views=2),
        "inversion": Inversion(steps=3),
        "tuning": Tuning(steps=3, rank=2),
    }
    return Run(base=str(base), out=out, **(settings | changes))


def train(run: Run, backbone: Backbone) -> Training:
    """Train to the end, or what is left."""
    *_, (training, _) = trainings(run, backbone)
    return training


def train_some(run: Run, backbone: Backbone, count: int) -> None:
    """Take some steps, then stop as a caller stops: by not asking for more."""
    going = trainings(run, backbone)
    for _ in range(count):
        next(going)
    going.close()  # type: ignore[attr-defined]


def hashes(*modules: nn.Module) -> list[dict[str, str]]:
    """The bytes of every parameter and buffer."""
    return [
        {
            name: hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest()
            for name, tensor in module.state_dict(keep_vars=True).items()
        }
        for module in modules
    ]


def results(folder: Path) -> dict[str, Any]:
    """What a run leaves: the bytes of its adapters, and its metrics without the time taken."""
    left: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.safetensors"))
        # "front": states that may turn out the best, there only while training.
        if not {"checkpoints", "front"} & set(path.parts)
    }
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    left["metrics"] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    return left
