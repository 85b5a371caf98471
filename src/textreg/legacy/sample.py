"""The original's sampling command: CFG 5, Euler ancestral, pictures and grids in a dated folder.

<outdir or checkpoint folder>/samples_<yymmdd-HHMMSS>/samples/00000_photo_of_a_krk1_cat.png
                                                     /grids/00000-00024.png
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textreg.dependencies import check_versions
from textreg.errors import UserError, of_machine
from textreg.flags import NearestParser, seed_number, some_path, some_text, whole_number
from textreg.interrupt import STOPPED, stop_flag

if TYPE_CHECKING:
    from PIL import Image

    from textreg.adapter import Adapter

_GUIDANCE = 5.0
_LONGEST_NAME = 200
"""Bytes; systems allow 255, with number and ending."""
_BASE = Path("models/stable-diffusion-v1-5")
"""The base that the original always took."""


def parser() -> NearestParser:
    """The original's flags, and which base to draw with."""
    top = NearestParser(
        prog="sample.py",
        description="The original's sampling command. Picture i has seed --seed + i. Exit codes: "
        "0 done, 1 failed, 2 bad input, 3 stopped.",
    )
    top.add_argument(
        "--lora_ckpt",
        type=some_path,
        metavar="FILE|DIR",
        help="a lora_weight file, or its folder; without: the base alone",
    )
    what = top.add_mutually_exclusive_group(required=True)
    what.add_argument("--prompts", metavar="TEXT", help="separated by ;")
    what.add_argument("--from_file", type=some_path, metavar="FILE", help="one prompt a line")
    top.add_argument("--n_img", type=whole_number, default=10, metavar="N", help="a prompt")
    top.add_argument("--n_step", type=whole_number, default=50, metavar="N", help="denoising steps")
    top.add_argument("--batch_size", type=whole_number, default=5, metavar="N", help="at once")
    top.add_argument(
        "--outdir", type=some_path, metavar="DIR", help="default: the checkpoint's folder"
    )
    top.add_argument("--seed", type=seed_number, default=0, metavar="S")
    top.add_argument("--filter_crossattn_str", default="cross", metavar="cross")
    top.add_argument(
        "--pretrained_model_name_or_path",
        type=some_text,
        metavar="DIR|HUB_ID",
        help="the base; default: the one that run.yaml beside the checkpoint names",
    )
    return top


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser().parse_args(words)
    try:
        check_versions()
        with stop_flag():
            return _sample(arguments)
    except UserError as error:
        said = str(error).replace("--steps ", "--n_step ")
        print(f"sample.py: {said}", file=sys.stderr)
        return 2
    except (OSError, MemoryError, RuntimeError) as error:
        if (line := of_machine(error)) is None:
            raise
        print(f"sample.py: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the pictures drawn so far are kept", file=sys.stderr)
        return STOPPED


def _sample(arguments: argparse.Namespace) -> int:
    prompts = _prompts(arguments)
    for name in ("n_img", "n_step", "batch_size"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name} is 0; it must be at least 1")
    if arguments.filter_crossattn_str != "cross":
        raise UserError(
            f"--filter_crossattn_str {arguments.filter_crossattn_str}: only cross, the keys and "
            "values that read the text, fits this command's files; textreg sample draws others"
        )
    checkpoint = checkpoint_of(arguments.lora_ckpt)
    base = _base(arguments.pretrained_model_name_or_path, checkpoint)
    folder = checkpoint if checkpoint is not None and checkpoint.is_dir() else None
    beside = folder or (checkpoint.parent if checkpoint is not None else Path("."))
    return _draw(arguments, prompts, checkpoint, base, arguments.outdir or beside)


def _prompts(arguments: argparse.Namespace) -> list[str]:
    from textreg.prompts import read_prompt_file

    if arguments.from_file is not None:
        return read_prompt_file(arguments.from_file)
    prompts = [prompt.strip() for prompt in arguments.prompts.split(";") if prompt.strip()]
    if not prompts:
        raise UserError("--prompts is empty; say what to draw, like 'photo of a <krk1> cat'")
    return prompts


def checkpoint_of(given: Path | None) -> Path | None:
    """The file or run folder that --lora_ckpt means; None for the base alone.

    Raises:
        UserError: there is no such file.
    """
    if given is None or given.is_file():
        return given
    if given.is_dir():
        legacy = given / "lora_weight.safetensors"
        return legacy if legacy.is_file() else given
    others = sorted(given.parent.glob("lora_weight*.safetensors"), key=lambda p: p.stat().st_mtime)
    there = f"; the newest there is {others[-1].name}" if others else ""
    raise UserError(f"--lora_ckpt {given}: no such file or folder{there}")


def _base(given: str | None, checkpoint: Path | None) -> dict[str, Any]:
    """Name and revision of the base to draw with.

    Raises:
        UserError: nothing says which.
    """
    from textreg.commands.sample import run_base

    if given:
        return {"source": given}
    if checkpoint is not None and (found := run_base(checkpoint)):
        return found
    if _BASE.is_dir():
        return {"source": str(_BASE)}
    why = "there is no run.yaml beside the checkpoint" if checkpoint else "no checkpoint is given"
    raise UserError(f"which base? {why}, and no {_BASE}; give --pretrained_model_name_or_path")


def _draw(
    arguments: argparse.Namespace,
    prompts: list[str],
    checkpoint: Path | None,
    base: dict[str, Any],
    place: Path,
) -> int:
    from textreg.adapter import Adapter
    from textreg.backbone import load
    from textreg.base_check import check_sampling
    from textreg.commands.progress import new_progress
    from textreg.picture_grid import grid
    from textreg.png_file import publish_png
    from textreg.sampling import PictureModel, sample

    adapter = Adapter.load(checkpoint) if checkpoint is not None else None
    said = check_sampling(**base, adapter=adapter, prompts=prompts, steps=arguments.n_step)
    for line in _doubts(prompts, adapter) + said:
        print(f"sample.py: {line}", file=sys.stderr)
    out = _made(place)
    repeated = [prompt for prompt in prompts for _ in range(arguments.n_img)]
    columns = arguments.batch_size
    sheet: list[Image.Image] = []
    with new_progress() as progress:
        task = progress.add_task("loading", total=len(repeated), note="")
        model = PictureModel(load(**base), adapter)
        progress.update(task, description="drawing")
        drawn = sample(
            model,
            repeated,
            seeds=range(arguments.seed, arguments.seed + len(repeated)),
            steps=arguments.n_step,
            guidance=_GUIDANCE,
            sampler="euler-ancestral",
            batch_size=columns,
        )
        for number, picture in enumerate(drawn):
            name = f"{number:05}_{legal_name(picture.prompt)}.png"
            publish_png(out / "samples" / name, picture.image)
            sheet.append(picture.image)
            if len(sheet) == columns**2 or number + 1 == len(repeated):
                rows = [sheet[i : i + columns] for i in range(0, len(sheet), columns)]
                name = f"{number + 1 - len(sheet):05}-{number:05}.png"
                publish_png(out / "grids" / name, grid(rows))
                sheet.clear()
            progress.advance(task)
    print(f"{len(repeated)} picture{'s' * (len(repeated) > 1)} in {out}")
    return 0


def _doubts(prompts: list[str], adapter: Adapter | None) -> list[str]:
    """One line for each prompt without the learned word; another word in <> has a line already."""
    if adapter is None:
        return []
    return [
        f"{prompt!r} does not contain {adapter.identifier}, the word of this checkpoint"
        for prompt in prompts
        if adapter.identifier not in prompt.lower() and "<" not in prompt
    ]


def _made(place: Path) -> Path:
    """A new folder named after the second; two commands of one second have one each."""
    name = time.strftime("samples_%y%m%d-%H%M%S")
    out, number = place / name, 1
    try:
        place.mkdir(parents=True, exist_ok=True)
        while out.exists():
            number += 1
            out = place / f"{name}-{number}"
        for part in ("samples", "grids"):
            (out / part).mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror}); give --outdir") from None
    return out


def legal_name(prompt: str) -> str:
    """A prompt as part of a file's name: blanks become _, what some system forbids is left out."""
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "", re.sub(r"\s", "_", prompt))
    return name.encode()[:_LONGEST_NAME].decode(errors="ignore").rstrip(". ")
