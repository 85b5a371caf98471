"""The verbs of the `textreg` command. Imports no torch until a verb runs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textreg.errors import UserError
from textreg.flags import NearestParser, seed_number, whole_number

_RUN_FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "--base": ("base", {"metavar": "NAME|DIR|HUB_ID", "help": "base model; toyland is embedded"}),
    "--prior": ("prior", {"choices": ["none", "textreg"], "help": "how the model is held"}),
    "--inversion-steps": (
        "inversion.steps",
        {"type": whole_number, "metavar": "N", "help": "steps of stage 1"},
    ),
    "--tuning-steps": (
        "tuning.steps",
        {"type": whole_number, "metavar": "N", "help": "steps of stage 2"},
    ),
    "--rank": ("tuning.rank", {"type": whole_number, "metavar": "R", "help": "rank of the edit"}),
    "--resolution": (
        "images.resolution",
        {"type": whole_number, "metavar": "PX", "help": "training side"},
    ),
    "--seed": ("seed", {"type": seed_number, "metavar": "S", "help": "decides every draw"}),
    "--device": ("device", {"metavar": "DEVICE", "help": "auto, cpu, cuda, cuda:1"}),
    "--dtype": (
        "dtype",
        {
            "choices": ["auto", "fp32", "bf16", "fp16", "fp64"],
            "help": "precision of the frozen denoiser",
        },
    ),
}


def parser() -> NearestParser:
    """Every verb and flag."""
    top = NearestParser(
        prog="textreg",
        description="Teach a text-to-image diffusion model a new concept from 4-6 pictures, "
        "without class images and without forgetting anything else.",
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    _train_flags(
        verbs.add_parser(
            "train",
            help="learn a concept from a folder of pictures",
            epilog="Precedence: preset < --config < flags. The same command again goes on where it "
            "stopped. Exit codes: 0 done, 1 failed, 2 bad input, 3 stopped and resumable.",
        )
    )
    _sample_flags(verbs.add_parser("sample", help="draw pictures of a learned concept"))
    _evaluate_flags(
        verbs.add_parser("evaluate", help="measure what training did to the base, with a report")
    )
    check = verbs.add_parser("check", help="list concepts in a folder, and what is wrong with them")
    check.add_argument(
        "folder", type=Path, metavar="DIR", help="one concept's folder, or a folder of them"
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    demo = verbs.add_parser("demo", help="the whole story on the embedded base, with a report")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), metavar="DIR")
    demo.add_argument(
        "--images",
        type=Path,
        default=Path("custom_datasets/data/cat"),
        metavar="DIR",
        help="the concept's pictures",
    )
    demo.add_argument("--noun", metavar="WORD", help="its class noun")
    demo.add_argument("--seed", type=seed_number, default=0, metavar="S")
    _toyland_flags(verbs.add_parser("toyland", help="the embedded base model"))
    return top


def _train_flags(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGES",
        help="folder with a concept's pictures; several train in one run",
    )
    verb.add_argument("--noun", metavar="WORD", help="class noun, like cat")
    verb.add_argument("--identifier", metavar="WORD", help='the new word (default "<krk1>")')
    verb.add_argument("--property", choices=["object", "style"], help="what is learned")
    verb.add_argument(
        "--preset",
        metavar="NAME",
        help="textreg or original; default: what the base recommends, else textreg",
    )
    verb.add_argument("--config", type=Path, metavar="FILE", help="YAML with any setting of a run")
    verb.add_argument("--out", type=Path, metavar="DIR", help="the run's folder")
    for flag, (_, options) in _RUN_FLAGS.items():
        verb.add_argument(flag, **options)


def _sample_flags(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "adapter",
        nargs="?",
        type=Path,
        metavar="RUN",
        help="a run's folder or a legacy file; without: the base alone",
    )
    verb.add_argument(
        "--prompt", action="append", default=[], metavar="TEXT", help="may be given several times"
    )
    verb.add_argument("--prompt-file", type=Path, metavar="FILE", help="one prompt a line")
    verb.add_argument(
        "--num-images",
        type=whole_number,
        default=4,
        metavar="N",
        help="pictures a prompt (default 4)",
    )
    verb.add_argument("--out", type=Path, metavar="DIR", help="default: RUN/samples")
    verb.add_argument(
        "--seed",
        type=seed_number,
        default=0,
        metavar="S",
        help="picture i of a prompt has seed S + i (default 0)",
    )
    verb.add_argument(
        "--steps", type=whole_number, default=25, metavar="N", help="denoising steps (default 25)"
    )
    verb.add_argument(
        "--guidance",
        type=float,
        default=5.0,
        metavar="G",
        help="classifier-free guidance (default 5)",
    )
    verb.add_argument(
        "--sampler", default="ddim", choices=["ddim", "dpm", "euler", "euler-ancestral"]
    )
    verb.add_argument("--negative-prompt", default="", metavar="TEXT")
    verb.add_argument("--batch-size", type=whole_number, default=4, metavar="N")
    for flag in ("--base", "--device", "--dtype", "--resolution"):
        verb.add_argument(flag, **_RUN_FLAGS[flag][1])


def _evaluate_flags(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("run", type=Path, metavar="RUN", help="a finished run's folder")
    verb.add_argument("--out", type=Path, metavar="DIR", help="place of the report; default: RUN")
    verb.add_argument(
        "--num-images",
        type=whole_number,
        metavar="N",
        help="pictures a prompt pool and model (default 32)",
    )
    verb.add_argument(
        "--features",
        action="append",
        metavar="judge|clip:FOLDER|dinov2:FOLDER",
        help="what looks at the pictures; may be given several times (default judge)",
    )
    verb.add_argument(
        "--prompts", type=Path, metavar="FILE", help="YAML: neighbours, general, edits"
    )
    verb.add_argument("--images", type=Path, metavar="DIR", help="the photos, if they have moved")
    verb.add_argument("--seed", type=seed_number, metavar="S", help="of all pictures (default 0)")
    verb.add_argument(
        "--steps", type=whole_number, metavar="N", help="denoising steps; default: the base's own"
    )
    verb.add_argument("--guidance", type=float, metavar="G", help="default: the base's own")
    verb.add_argument("--sampler", choices=["ddim", "dpm", "euler"], help="default ddim")
    verb.add_argument("--batch-size", type=whole_number, metavar="N")
    for flag in ("--base", "--device", "--dtype"):
        verb.add_argument(flag, **_RUN_FLAGS[flag][1])


def _toyland_flags(verb: argparse.ArgumentParser) -> None:
    actions = verb.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("path", help="print the embedded base's folder")
    build = actions.add_parser("build", help="train the embedded base from scratch; resumable")
    build.add_argument("--out", type=Path, required=True, metavar="DIR")
    build.add_argument("--preset", choices=["full", "test"], default="full")
    build.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    score = actions.add_parser("score", help="judge its samples of held-out prompts")
    score.add_argument("--num-images", type=whole_number, default=256, metavar="N")
    score.add_argument("--seed", type=seed_number, default=0, metavar="S")
    score.add_argument("--json", type=Path, metavar="FILE", help="write the shares here")
    concept = actions.add_parser("concept", help="render a new individual's pictures")
    concept.add_argument("--seed", type=seed_number, required=True, metavar="N")
    concept.add_argument("--out", type=Path, required=True, metavar="DIR")


def train(arguments: argparse.Namespace) -> int:
    """Learn concepts."""
    from textreg.commands.train import train_command

    flags = {
        key: value
        for flag, (key, _) in _RUN_FLAGS.items()
        if (value := getattr(arguments, flag[2:].replace("-", "_"))) is not None
    }
    return train_command(arguments, flags)


def sample(arguments: argparse.Namespace) -> int:
    """Draw pictures."""
    from textreg.commands.sample import sample_command

    return sample_command(arguments)


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure a run."""
    from textreg.commands.evaluate import evaluate_command

    return evaluate_command(arguments)


def check(arguments: argparse.Namespace) -> int:
    """List concepts."""
    from textreg.check import check as check_folder

    return check_folder(arguments.folder, arguments.json)


def demo(arguments: argparse.Namespace) -> int:
    """Tell the whole story."""
    from textreg.demo import demo as run_demo

    return run_demo(arguments.out, arguments.images, arguments.noun, arguments.seed)


def toyland(arguments: argparse.Namespace) -> int:
    """Work with the embedded base."""
    if arguments.action == "path":
        from textreg.bases import local_folder

        print(local_folder("toyland"))
        return 0
    import textreg.toyland as world

    if arguments.action == "build":
        world.build(arguments.out, arguments.preset, arguments.device)
    elif arguments.action == "score":
        print(json.dumps(world.score(arguments.num_images, arguments.seed, arguments.json)))
    else:
        if arguments.out.exists() and any(arguments.out.iterdir()):
            raise UserError(f"--out {arguments.out}: is not empty; choose a new folder")
        world.concept(arguments.seed, arguments.out)
        print(arguments.out)
    return 0


_VERBS = {
    "train": train,
    "sample": sample,
    "evaluate": evaluate,
    "check": check,
    "demo": demo,
    "toyland": toyland,
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = parser().parse_args(words)
    try:
        return _VERBS[arguments.verb](arguments)
    except UserError as error:
        print(f"textreg: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing is left to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A full disk or a lost folder, at whatever file it struck.
        where = f"{error.filename}: " if error.filename else ""
        print(f"textreg: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("textreg: stopped; the same command goes on", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
