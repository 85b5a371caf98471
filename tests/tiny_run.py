"""Runs of a few steps on the tiny base, and what to compare of them."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textreg.adapter import Adapter
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


def assert_same_edit(found: Adapter, wanted: Adapter, *, atol: float, rtol: float = 0) -> None:
    """A and B of every projection, to these tolerances."""
    assert found.factors.keys() == wanted.factors.keys()
    for name, pair in wanted.factors.items():
        for ours, theirs in zip(found.factors[name], pair, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


def loud_edit(adapter: Adapter) -> dict[str, tuple[Tensor, Tensor]]:
    """Its factors, made so large that they decide a picture."""
    return {name: (down, 3000 * up) for name, (down, up) in adapter.factors.items()}


def copied_concepts(pictures: Path, folder: Path, *names: str) -> tuple[Concept, ...]:
    """Concepts of these names, each with a copy of the same pictures and an identifier."""
    for name in names:
        shutil.copytree(pictures, folder / name)
    return tuple(
        Concept(images=folder / name, noun="cat", identifier=f"<krk{n}>")
        for n, name in enumerate(names)
    )


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
