"""The one command that makes the base from nothing; killed and run again, it goes on."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors.torch import load_file, save_file

from .autoencoder import build_autoencoder, encode_pictures, refine_decoder, train_autoencoder
from .base_folder import write_base
from .dataset import Pictures, render_shards
from .denoiser import train_denoiser
from .judge_training import train_judge
from .presets import PRESETS, Preset
from .text_encoder import build_text_encoder, train_text_encoder
from .vocabulary import build_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

PARTS = ("judge", "autoencoder", "text_encoder")
"""Trainings that need nothing of each other."""


class Workshop:
    """The folders of a build: out/base, out/judge, and out/work with what lies between."""

    def __init__(self, out: Path, preset: str, device: str) -> None:
        self.out, self.work = out, out / "work"
        self.preset_name, self.device = preset, device
        self.preset: Preset = PRESETS[preset]

    def render(self) -> None:
        """Render both training sets, the base's and the judge's."""
        preset = self.preset
        render_shards(self.work / "train", "train", preset.shard_size, preset.num_shards)
        render_shards(self.work / "judge", "judge", preset.shard_size, preset.judge_shards)

    def pictures(self) -> Pictures:
        """Return the base's training set."""
        preset = self.preset
        return Pictures(self.work / "train", "train", preset.shard_size, preset.num_shards)

    def train(self, part: str) -> None:
        """Train one of PARTS to its end and write its averaged weights."""
        done = self.work / f"{part}-done.safetensors"
        if done.exists():
            return
        work, preset, device = self.work, self.preset, self.device
        if part == "judge":
            seen = Pictures(work / "judge", "judge", preset.shard_size, preset.judge_shards)
            judge = train_judge(work, seen, preset, device)
            judge.save(self.out / "judge", preset.judge_width)
            model: Any = judge.network
            metadata = {}
        elif part == "autoencoder":
            model = train_autoencoder(work, self.pictures(), preset, device)
            metadata = {"scaling_factor": str(model.config.scaling_factor)}
        else:
            model = train_text_encoder(work, self.pictures(), build_tokenizer(), preset, device)
            metadata = {}
        weights = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
        save_file(weights, done.with_suffix(".partial"), metadata)
        done.with_suffix(".partial").replace(done)

    def train_parts(self) -> None:
        """Train PARTS: one after the other on a GPU, on a CPU two at a time, a core each."""
        if self.device != "cpu" or (os.cpu_count() or 1) < 2:
            for part in PARTS:
                self.train(part)
            return
        # The autoencoder takes as long as the other two together.
        command = [
            sys.executable,
            "-m",
            "textreg.toyland.build_base",
            str(self.out),
            self.preset_name,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) // 2))}
        pair = [
            subprocess.Popen([*command, *parts], env=environment)
            for parts in (("autoencoder",), ("text_encoder", "judge"))
        ]
        if any([process.wait() for process in pair]):
            raise RuntimeError("a part of the build failed; its message stands above")

    def autoencoder(self) -> Any:
        """Load the trained autoencoder."""
        from safetensors import safe_open

        path = self.work / "autoencoder-done.safetensors"
        model = build_autoencoder(self.preset)
        model.load_state_dict(load_file(path))
        with safe_open(path, "pt") as file:
            model.register_to_config(scaling_factor=float(file.metadata()["scaling_factor"]))
        return model.to(self.device).eval()

    def text_encoder(self) -> Any:
        """Load the trained text encoder."""
        model: Any = build_text_encoder(build_tokenizer(), self.preset)
        model.load_state_dict(load_file(self.work / "text_encoder-done.safetensors"))
        return model.to(self.device).eval()

    def latents(self, pictures: Pictures) -> Tensor:
        """Return the training set's latents; they are computed once."""
        path = self.work / "latents.safetensors"
        if not path.exists():
            model = self.autoencoder().to(memory_format=torch.channels_last)
            latents = encode_pictures(model, pictures, range(len(pictures)), self.device)
            save_file({"latents": latents}, path.with_suffix(".partial"))
            path.with_suffix(".partial").replace(path)
        return load_file(path)["latents"]


def build(
    out: Path, preset: Literal["full", "test"] = "full", device: str = "cpu"
) -> dict[str, dict[str, float]]:
    """Render the world, train judge, autoencoder, text encoder and denoiser, write the base.

    Progress goes to stderr, figures to out/work/figures.jsonl. The same command again goes on
    where an earlier one stopped; parts that are done are skipped.

    Args:
        out: gets `base` (a Stable Diffusion folder), `judge` (its weights) and `work`.
        preset: "full" makes the embedded base, "test" a useless one in about a minute.
        device: "cpu" or "cuda".

    Returns:
        The score of the new base, as `score` gives it.
    """
    from .attribute_judge import Judge
    from .scoring import score

    started = time.monotonic()
    shop = Workshop(out, preset, device)
    shop.render()
    shop.train_parts()
    tokenizer, encoder, autoencoder = build_tokenizer(), shop.text_encoder(), shop.autoencoder()
    pictures = shop.pictures()

    def publish(denoiser: Any) -> None:
        write_base(out / "base", tokenizer, encoder, autoencoder, denoiser)

    latents = shop.latents(pictures)
    denoiser = train_denoiser(
        shop.work, pictures, latents, tokenizer, encoder, shop.preset, device, publish
    )
    publish(denoiser)
    refine_decoder(shop.work, autoencoder, pictures, latents, shop.preset, device)
    publish(denoiser)
    num_images = 256 if preset == "full" else 8
    result = score(
        num_images, base=out / "base", judge=Judge.load(out / "judge", device), device=device
    )
    row: dict[str, Any] = {"part": "score", "num_images": num_images, **result}
    row["seconds"] = round(time.monotonic() - started, 1)
    with (shop.work / "figures.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(result, indent=2), file=sys.stderr)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("preset", choices=tuple(PRESETS))
    parser.add_argument("parts", nargs="*", choices=("all", *PARTS), default="all")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.parts == "all":
        build(arguments.out, arguments.preset, arguments.device)
    else:
        for name in arguments.parts:
            Workshop(arguments.out, arguments.preset, arguments.device).train(name)
