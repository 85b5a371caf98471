"""`textreg sample`: an adapter and prompts to pictures on disk."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textreg.errors import UserError
from textreg.interrupt import STOPPED, stop_flag
from textreg.prompts import read_prompt_file
from textreg.writable_folder import open_folder


def sample_command(arguments: argparse.Namespace) -> int:
    """Draw pictures; returns the exit code."""
    prompts = list(arguments.prompt)
    if arguments.prompt_file:
        prompts += read_prompt_file(arguments.prompt_file)
    if not all(prompt.strip() for prompt in prompts):
        raise UserError("--prompt is empty; say what to draw")
    if not prompts:
        raise UserError("nothing to draw: give --prompt or --prompt-file")
    for name in ("num_images", "steps", "batch_size"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is 0; it must be at least 1")
    settings = base_settings(arguments)
    out = arguments.out or _default_out(arguments.adapter)
    with stop_flag():
        try:
            return _draw(arguments, settings, prompts, out)
        except KeyboardInterrupt:
            print(f"stopped; the pictures drawn so far are in {out}", file=sys.stderr)
            return STOPPED


def base_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Base, device and precision: the run's own, unless flags say otherwise."""
    settings: dict[str, Any] = {"source": "toyland", "revision": None}
    if arguments.adapter is not None:
        settings |= run_base(arguments.adapter)
    if arguments.base:
        settings |= {"source": arguments.base, "revision": None}
    settings["device"] = arguments.device or "auto"
    settings["dtype"] = arguments.dtype or "auto"
    return settings


def run_base(adapter: Path) -> dict[str, Any]:
    """The base that the run's own record names, looked up beside the adapter or above."""
    from textreg.run_record import read_record, recorded_run, run_home

    folder = adapter if adapter.is_dir() else adapter.parent
    if not adapter.exists():
        raise UserError(f"{adapter}: no such run or file")
    if (home := run_home(folder)) is None:
        return {}
    run = recorded_run(home, read_record(home))
    return {"source": run["base"], "revision": run.get("revision")}


def _default_out(adapter: Path | None) -> Path:
    if adapter is None:
        return Path("pictures")
    return (adapter if adapter.is_dir() else adapter.parent) / "samples"


def _draw(
    arguments: argparse.Namespace,
    settings: dict[str, Any],
    prompts: list[str],
    out: Path,
) -> int:
    from textreg.adapter import Adapter
    from textreg.backbone import load
    from textreg.base_check import check_sampling
    from textreg.commands.progress import new_progress
    from textreg.picture_grid import grid
    from textreg.png_file import publish_png
    from textreg.sampling import PictureModel, sample

    adapter = Adapter.load(arguments.adapter) if arguments.adapter is not None else None
    said = check_sampling(
        settings["source"],
        adapter,
        [*prompts, arguments.negative_prompt],
        revision=settings["revision"],
        device=settings["device"],
        resolution=arguments.resolution,
        steps=arguments.steps,
    )
    if adapter is not None and not any(adapter.identifier in p.lower() for p in prompts):
        said.insert(0, f"no prompt has {adapter.identifier}, the word of this concept")
    for line in said:
        print(f"textreg: {line}", file=sys.stderr)
    open_folder(out, "--out ")
    first = _next_number(out)
    count = arguments.num_images
    repeated = [prompt for prompt in prompts for _ in range(count)]
    seeds = [arguments.seed + i for _ in prompts for i in range(count)]
    with new_progress() as progress:
        task = progress.add_task("drawing", total=len(repeated), note=str(out))
        model = PictureModel(load(**settings), adapter)
        pictures = []
        drawn = sample(
            model,
            repeated,
            seeds=seeds,
            steps=arguments.steps,
            guidance=arguments.guidance,
            sampler=arguments.sampler,
            negative_prompt=arguments.negative_prompt,
            resolution=arguments.resolution,
            batch_size=arguments.batch_size,
        )
        with (out / "samples.jsonl").open("a", encoding="utf-8") as manifest:
            for number, picture in enumerate(drawn, first):
                name = f"{number:05}_{file_words(picture.prompt)}.png"
                publish_png(out / name, picture.image)
                line = asdict(picture) | {"image": name}
                manifest.write(json.dumps(line) + "\n")
                pictures.append(picture.image)
                progress.advance(task)
    sheet = out / f"grid_{first:05}.png"
    publish_png(sheet, grid([pictures[i : i + count] for i in range(0, len(pictures), count)]))
    said = "1 picture" if len(pictures) == 1 else f"{len(pictures)} pictures"
    print(f"{said} in {out}; all at once: {sheet}")
    return 0


def file_words(prompt: str) -> str:
    """A prompt as a part of a file's name, legal everywhere."""
    words = re.sub(r"[^\w.-]+", "_", prompt).strip("._")[:80]
    # Names are limited in bytes, of which other letters than Latin have up to four.
    return words.encode()[:200].decode(errors="ignore") or "prompt"


def _next_number(out: Path) -> int:
    numbers = [int(m[1]) for p in out.glob("*.png") if (m := re.match(r"(\d{5,})_", p.name))]
    return max(numbers, default=-1) + 1
