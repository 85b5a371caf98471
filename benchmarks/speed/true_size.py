"""A family at its true size on this machine: both stages, files, plain diffusers, one picture.

    python benchmarks/speed/true_size.py --json benchmarks/results/true_size-cpu.json
    python benchmarks/speed/true_size.py --size sdxl --side 64 --steps 1 --without sampling

The weights are random (benchmarks/random_base.py), so the pictures mean nothing; sizes, time and
memory do. Each phase runs in a process of its own, which may not use the network, and reports its
peak memory. The base (2 GB, 3 GB, 7 GB) is kept in models/ for the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """What a family must come out as."""

    parameters: int
    """Of the denoiser."""
    projections: int
    """Keys and values that are edited."""
    trained: int
    """Numbers of an edit of rank 10."""


SIZES = {
    "sd15": Size(parameters=859_520_964, projections=32, trained=495_360),
    "sd2": Size(parameters=865_910_724, projections=32, trained=577_280),
    "sdxl": Size(parameters=2_567_463_684, projections=140, trained=4_531_200),
}


def prepare(work: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """Write the base, unless it is there, and five pictures."""
    import numpy as np
    from PIL import Image

    sys.path.insert(0, str(ROOT / "benchmarks"))
    from random_base import write_base

    base = _base(settings)
    if not (base / "model_index.json").is_file():
        write_base(base, settings.size, dtype="bfloat16")
    folder = work / "cat"
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(5):
        # Smooth colours: noise would not compress, and photographs are not noise.
        coarse = np.random.default_rng(n).integers(0, 256, (8, 10, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((800, 640), Image.Resampling.BICUBIC).save(
            folder / f"{n:02}.png"
        )
    size = sum(f.stat().st_size for f in base.rglob("*.safetensors"))
    return {"base_gigabytes": round(size / 1e9, 2)}


def start(work: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """Load the base, and check that it is what it should be."""
    from textreg.concept_texts import ConceptTexts

    backbone = _load(settings)
    count = sum(p.numel() for p in backbone.denoiser.unet.parameters())
    assert count == SIZES[settings.size].parameters, count
    assert len(backbone.projections.names) == SIZES[settings.size].projections
    # In CLIP it is a piece of words, so its text alone is read as two tokens.
    assert backbone.tokenizer.get_vocab()["ktn"] == 42170
    texts = ConceptTexts.of(_run(work, settings).concepts[0], backbone)
    assert texts.identifier_id == 49408
    return {"denoiser_parameters": count, "identifier": texts.identifier_id}


def inversion(work: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """Stage 1 alone, then stop as after Ctrl-C."""
    return _steps(work, settings, stop_after=settings.steps)


def tuning(work: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """Go on from stage 1's checkpoint to the end; write and count every file."""
    from textreg.adapter import Adapter
    from textreg.learning import learn

    report = _steps(work, settings, stop_after=None)
    run = _run(work, settings)
    learn(run, backbone=_load(settings))
    adapter = Adapter.load(run.out)
    values = sum(a.numel() + b.numel() for a, b in adapter.factors.values())
    assert values == SIZES[settings.size].trained, values
    if settings.size == "sd15":
        _write_legacy(adapter, run.out / "lora_weight.safetensors")
    files = {p.name: p.stat().st_size for p in sorted(run.out.iterdir()) if p.is_file()}
    assert {"README.md", "pytorch_lora_weights.safetensors", "learned_embeds.safetensors"} <= set(
        files
    )
    return report | {"trained_parameters": values, "files": files}


def _write_legacy(adapter: Any, path: Path) -> None:
    """The original's file, with as many tensors as the original writes."""
    from safetensors import safe_open

    from textreg.adapter import Adapter
    from textreg.adapter.legacy_file import write

    write(adapter, path, text_layers=12)
    with safe_open(path, framework="pt") as file:
        tensors = len(list(file.keys()))
    assert tensors == 161, tensors
    assert Adapter.load(path).vector.equal(adapter.vector)


def opened(work: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """Plain diffusers loads both LoRA files and the word: on every projection, our product."""
    import diffusers
    import safetensors.torch
    import torch

    from textreg.adapter import Adapter
    from textreg.adapter.diffusers_files import load_pair

    folder = work / "run"
    adapter = Adapter.load(folder)
    pipe: Any = diffusers.DiffusionPipeline.from_pretrained(
        _base(settings), local_files_only=True, dtype=torch.bfloat16
    )
    counts: dict[str, int] = {}
    for name in ("pytorch_lora_weights.safetensors", "webui/krk1_lora.safetensors"):
        path = folder / name
        pipe.load_lora_weights(path.parent, weight_name=path.name)
        layers = {n: m for n, m in pipe.unet.named_modules() if hasattr(m, "get_delta_weight")}
        counts[path.name] = len(layers)
        assert layers.keys() == adapter.factors.keys(), path
        for n, (down, up) in adapter.factors.items():
            (key,) = layers[n].active_adapters
            found = layers[n].lora_B[key].weight @ layers[n].lora_A[key].weight
            wanted = up.bfloat16() @ down.bfloat16()
            torch.testing.assert_close(found, wanted, rtol=0, atol=0)
        pipe.unload_lora_weights()
    if adapter.second_width:
        exec(load_pair(adapter, str(folder)), {"pipe": pipe, "safetensors": safetensors})
    else:
        pipe.load_textual_inversion(folder)
    table = pipe.text_encoder.get_input_embeddings().weight
    assert table[-1].equal(adapter.vector[: table.shape[1]].bfloat16())
    return {"adapters_in_diffusers": counts}


def sampling(work: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """One picture of the learned word."""
    from textreg.adapter import Adapter
    from textreg.sampling import PictureModel, sample

    adapter = Adapter.load(work / "run")
    backbone = _load(settings)
    with _timed(backbone.vae, "decode") as decoding:
        model = PictureModel(backbone, adapter)
        begun = time.perf_counter()
        (picture,) = sample(
            model,
            [adapter.prompt],
            seeds=[0],
            steps=settings.sampling_steps,
            sampler="euler-ancestral",
        )
        seconds = time.perf_counter() - begun
    side = backbone.resolution
    assert picture.image.size == (side, side)
    picture.image.save(work / "picture.png")
    return {
        "denoising_steps": settings.sampling_steps,
        "seconds_per_denoising_step": (seconds - sum(decoding)) / settings.sampling_steps,
        "seconds_to_decode": sum(decoding),
    }


PHASES: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "prepare": prepare,
    "start": start,
    "inversion": inversion,
    "tuning": tuning,
    "opened": opened,
    "sampling": sampling,
}


def _run(work: Path, settings: argparse.Namespace) -> Any:
    from textreg.config import Concept, Images, Inversion, Run, Tuning

    return Run(
        concepts=(Concept(images=work / "cat", noun="cat"),),
        base=str(_base(settings)),
        out=work / "run",
        dtype=settings.dtype,
        images=Images(resolution=settings.side, views=1),
        inversion=Inversion(steps=settings.steps),
        tuning=Tuning(steps=settings.steps),
        card_pictures=0,
    )


def _load(settings: argparse.Namespace) -> Any:
    from textreg.backbone import load

    return load(str(_base(settings)), dtype=settings.dtype)


def _base(settings: argparse.Namespace) -> Path:
    return ROOT / "models" / f"random-{settings.size}"


def _steps(work: Path, settings: argparse.Namespace, stop_after: int | None) -> dict[str, Any]:
    from textreg.trainer import trainings

    begun = time.perf_counter()
    backbone = _load(settings)
    loaded = time.perf_counter()
    seconds: list[float] = []
    processor: list[float] = []
    encoding: list[float] = []
    ready = used = 0.0
    with _timed(backbone.vae, "encode") as encoded:
        for _, records in trainings(_run(work, settings), backbone, with_start=True):
            before, used = used, time.process_time()
            if not records:
                ready = time.perf_counter()
                continue
            processor.append(used - before)
            # The first view of each picture is encoded in the step that draws it.
            encoding.append(sum(encoded))
            seconds.append(records[0].seconds - encoding[-1])
            encoded.clear()
            if records[0].global_step == stop_after:
                break
    assert len(seconds) == settings.steps, seconds
    return {
        "seconds_to_load": loaded - begun,
        "seconds_to_prepare": ready - loaded,
        "seconds_per_step": sorted(seconds)[len(seconds) // 2],
        "seconds_of_each_step": seconds,
        # With the encoding, but without the waiting for other programs of this machine.
        "processor_seconds_of_each_step": processor,
        "seconds_to_encode_a_view": max(encoding),
    }


@contextmanager
def _timed(owner: Any, name: str) -> Generator[list[float]]:
    """Seconds of each call of a method."""
    original, seconds = getattr(owner, name), []

    def call(*arguments: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        result = original(*arguments, **options)
        seconds.append(time.perf_counter() - begun)
        return result

    setattr(owner, name, call)
    yield seconds
    setattr(owner, name, original)


def _phase(name: str, work: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """One phase in this process, without the network."""
    import socket

    def refuse(*_: Any) -> None:
        raise AssertionError("this benchmark must not use the network")

    socket.socket.connect = refuse  # type: ignore[method-assign]
    begun = time.perf_counter()
    report = PHASES[name](work, settings)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.perf_counter() - begun,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_gibibytes": used.ru_maxrss / 2**20,
    } | report


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> None:
    """Every phase, one process each; prints and writes the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--size", choices=sorted(SIZES), default="sd15")
    parser.add_argument("--side", type=int, default=512, help="of the training views, in pixels")
    parser.add_argument("--without", choices=list(PHASES), action="append", default=[])
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--steps", type=int, default=3, help="of each stage")
    parser.add_argument("--sampling-steps", type=int, default=4)
    parser.add_argument("--hardware", default="", help="what to call this machine in the report")
    parser.add_argument("--phase", choices=list(PHASES), help=argparse.SUPPRESS)
    settings = parser.parse_args()
    settings.work = ROOT / "runs" / f"true_size-{settings.size}"
    if settings.phase:
        print(json.dumps(_rounded(_phase(settings.phase, settings.work, settings))))
        return
    if (settings.work / "run").exists():
        raise SystemExit(f"{settings.work / 'run'} is there from another time: delete it first")
    from textreg.environment import environment

    report: dict[str, Any] = {
        "hardware": settings.hardware,
        "environment": environment(),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "niceness": os.nice(0),
        "load_average": os.getloadavg()[0],
        "settings": {
            "size": settings.size,
            "dtype": settings.dtype,
            "side": settings.side,
            "batch_size": 1,
            "rank": 10,
        },
        "phases": {},
    }
    for name in [phase for phase in PHASES if phase not in settings.without]:
        words = [sys.executable, __file__, *sys.argv[1:], "--phase", name]
        done = subprocess.run(
            words, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=subprocess.PIPE, check=True
        )
        report["phases"][name] = json.loads(done.stdout.splitlines()[-1])
        print(name, json.dumps(report["phases"][name]), flush=True)
    if settings.json:
        settings.json.parent.mkdir(parents=True, exist_ok=True)
        settings.json.write_text(json.dumps(_rounded(report), indent=2) + "\n")


if __name__ == "__main__":
    main()
