"""Every verb and flag of the `textreg` command. Imports no torch."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

import textreg.priors as priors
from textreg.flags import (
    NearestParser,
    guidance_scale,
    seed_number,
    some_path,
    some_text,
    whole_number,
)
from textreg.run_flags import RUN_FLAGS
from textreg.track import TRACKERS
from textreg.training_flags import add_sample_flags


def parser() -> NearestParser:
    """Every verb and flag."""
    top = NearestParser(
        prog="textreg",
        description="Teach a text-to-image diffusion model a new concept from 4-6 pictures, "
        "without class images and without forgetting anything else.",
    )
    top.add_argument("--version", action="version", version=f"textreg {version('textreg')}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    _train_flags(
        verbs.add_parser(
            "train",
            help="learn a concept from a folder of pictures",
            epilog=f"Priors: {', '.join(priors.names())}; joined like textreg+context. "
            "Precedence: preset < --config < flags. The same command again goes on where it "
            "stopped. Exit codes: 0 done, 1 failed, 2 bad input, 3 stopped and resumable.",
        )
    )
    _sample_flags(verbs.add_parser("sample", help="draw pictures of a learned concept"))
    _export_flags(verbs.add_parser("export", help="write a concept for other programs, checked"))
    _import_flags(verbs.add_parser("import", help="make a run's folder of an adapter's file"))
    _evaluate_flags(
        verbs.add_parser("evaluate", help="measure what training did to the base, with a report")
    )
    _compare_flags(
        verbs.add_parser(
            "compare",
            help="priors x concepts x seeds: one table, one plot of fidelity against drift",
            epilog="The same command again goes on where it stopped. docs/compare.md says what is "
            "equal, and how it is tested.",
        )
    )
    check = verbs.add_parser("check", help="list concepts in a folder, and what is wrong with them")
    check.add_argument(
        "folder", type=some_path, metavar="DIR", help="one concept's folder, or a folder of them"
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    demo = verbs.add_parser("demo", help="the whole story on the embedded base, with a report")
    demo.add_argument("--out", type=some_path, default=Path("runs/demo"), metavar="DIR")
    demo.add_argument(
        "--images",
        type=some_path,
        default=Path("custom_datasets/data/cat"),
        metavar="DIR",
        help="the concept's pictures",
    )
    demo.add_argument("--noun", metavar="WORD", help="its class noun")
    demo.add_argument("--seed", type=seed_number, default=0, metavar="S")
    _toyland_flags(verbs.add_parser("toyland", help="the embedded base model"))
    return top


def _concept_flags(verb: argparse.ArgumentParser, several: str) -> None:
    verb.add_argument(
        "images",
        nargs="+",
        type=some_path,
        metavar="IMAGES",
        help=f"folder with a concept's pictures; {several}",
    )
    verb.add_argument("--noun", metavar="WORD", help="class noun, like cat")
    verb.add_argument("--identifier", metavar="WORD", help='the new word (default "<krk1>")')
    verb.add_argument("--property", choices=["object", "style"], help="what is learned")


def _train_flags(verb: argparse.ArgumentParser) -> None:
    _concept_flags(verb, "several train in one run")
    verb.add_argument(
        "--preset",
        type=some_text,
        metavar="NAME",
        help="textreg or original; default: what the base recommends, else textreg",
    )
    verb.add_argument(
        "--config", type=some_path, metavar="FILE", help="YAML with any setting of a run"
    )
    verb.add_argument("--out", type=some_path, metavar="DIR", help="the run's folder")
    verb.add_argument(
        "--prompts-file",
        "--prompts_file",
        type=some_path,
        metavar="FILE",
        help="instance prompts, one a line, [trigger] where the concept's words go",
    )
    verb.add_argument(
        "--track", choices=TRACKERS, help="send losses and drift to a tracker as well"
    )
    add_sample_flags(verb)
    which = verb.add_mutually_exclusive_group()
    which.add_argument(
        "--resume", action="store_true", help="only go on; an error where no run has begun"
    )
    which.add_argument(
        "--force-new",
        action="store_true",
        help="begin anew; a run that is in the folder is put aside as RUN.1, not deleted",
    )
    verb.add_argument(
        "--deterministic",
        action="store_true",
        help="the same bytes on a GPU too, or the name of the operation that cannot; slower",
    )
    verb.add_argument(
        "--take-over",
        action="store_true",
        help="go on in a folder that a process of another machine held, and left without a word",
    )
    for flag, (_, options) in RUN_FLAGS.items():
        verb.add_argument(flag, **options)


def _sample_flags(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "adapter",
        nargs="?",
        type=some_path,
        metavar="RUN",
        help="a run's folder or a legacy file; without: the base alone",
    )
    verb.add_argument(
        "--prompt", action="append", default=[], metavar="TEXT", help="may be given several times"
    )
    verb.add_argument("--prompt-file", type=some_path, metavar="FILE", help="one prompt a line")
    verb.add_argument(
        "--num-images",
        type=whole_number,
        default=4,
        metavar="N",
        help="pictures a prompt (default 4)",
    )
    verb.add_argument("--out", type=some_path, metavar="DIR", help="default: RUN/samples")
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
        type=guidance_scale,
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
        verb.add_argument(flag, **RUN_FLAGS[flag][1])


def _export_flags(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("run", type=some_path, metavar="RUN", help="a finished run's folder")
    verb.add_argument(
        "--to",
        default="diffusers,kohya,a1111,comfyui",
        metavar="NAME,NAME",
        help="diffusers, kohya, a1111, comfyui, bundle, legacy (default: all but the last two)",
    )
    verb.add_argument("--dtype", choices=["fp32", "fp16"], default="fp32", help="of the edit")
    verb.add_argument("--out", type=some_path, metavar="DIR", help="default: RUN, or RUN/fp16")


def _import_flags(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "file", type=some_path, metavar="FILE", help="a LoRA file of any form in docs/formats.md"
    )
    verb.add_argument(
        "--out", type=some_path, required=True, metavar="RUN", help="the folder to make"
    )
    verb.add_argument(
        "--embedding", type=some_path, metavar="FILE", help="the word's file, if it is another one"
    )
    verb.add_argument("--identifier", metavar="WORD", help="the new word, if no file says it")
    verb.add_argument("--noun", metavar="WORD", help="class noun, if the file does not say it")
    verb.add_argument("--property", choices=["object", "style"], help="what was learned")
    verb.add_argument("--base", **RUN_FLAGS["--base"][1], default="toyland")


def _measure_flags(verb: argparse.ArgumentParser, num_images: int) -> None:
    verb.add_argument(
        "--num-images",
        type=whole_number,
        metavar="N",
        help=f"pictures a prompt pool and model (default {num_images})",
    )
    verb.add_argument(
        "--epsilon-prompts",
        type=whole_number,
        metavar="N",
        help="prompts a pool of epsilon-drift, which draws no pictures (default 8)",
    )
    verb.add_argument(
        "--features",
        action="append",
        metavar="judge|clip:FOLDER|dinov2:FOLDER",
        help="what looks at the pictures; may be given several times (default judge)",
    )
    verb.add_argument(
        "--prompts", type=some_path, metavar="FILE", help="YAML: neighbours, general, edits"
    )


def _evaluate_flags(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("run", type=some_path, metavar="RUN", help="a finished run's folder")
    verb.add_argument(
        "--out", type=some_path, metavar="DIR", help="place of the report; default: RUN"
    )
    _measure_flags(verb, 24)
    verb.add_argument(
        "--images", type=some_path, metavar="DIR", help="the photos, if they have moved"
    )
    verb.add_argument("--seed", type=seed_number, metavar="S", help="of all pictures (default 0)")
    verb.add_argument(
        "--steps", type=whole_number, metavar="N", help="denoising steps; default: the base's own"
    )
    verb.add_argument(
        "--guidance", type=guidance_scale, metavar="G", help="default: the base's own"
    )
    verb.add_argument("--sampler", choices=["ddim", "dpm", "euler"], help="default: the base's own")
    verb.add_argument("--batch-size", type=whole_number, metavar="N")
    for flag in ("--base", "--device", "--dtype"):
        verb.add_argument(flag, **RUN_FLAGS[flag][1])


def _compare_flags(verb: argparse.ArgumentParser) -> None:
    _concept_flags(verb, "several are several concepts")
    verb.add_argument(
        "--priors",
        default="none,class-images,weight-decay,textreg+context",
        metavar="NAME[:KEY=VALUE][,...]|FILE.yaml",
        help="the reference first; like none,textreg,textreg:textreg.hard=false "
        "(default none,class-images,weight-decay,textreg+context)",
    )
    verb.add_argument(
        "--seeds", type=whole_number, default=3, metavar="N", help="counted from --seed (default 3)"
    )
    verb.add_argument(
        "--equal",
        choices=["steps", "time", "both"],
        default="both",
        help="what all get as much of: steps, or the time that the reference takes (default both)",
    )
    verb.add_argument("--out", type=some_path, default=Path("runs/compare"), metavar="DIR")
    _measure_flags(verb, 16)
    verb.add_argument("--preset", type=some_text, metavar="NAME", help="as in textreg train")
    verb.add_argument(
        "--config", type=some_path, metavar="FILE", help="YAML with settings of all runs"
    )
    for flag, (_, options) in RUN_FLAGS.items():
        # The priors are the question here, and each of its runs has one concept.
        if flag not in ("--prior", "--batch-concepts"):
            verb.add_argument(flag, **options)


def _toyland_flags(verb: argparse.ArgumentParser) -> None:
    actions = verb.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("path", help="print the embedded base's folder")
    build = actions.add_parser("build", help="train the embedded base from scratch; resumable")
    build.add_argument("--out", type=some_path, required=True, metavar="DIR")
    build.add_argument("--preset", choices=["full", "test"], default="full")
    build.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    score = actions.add_parser("score", help="judge its samples of held-out prompts")
    score.add_argument("--num-images", type=whole_number, default=256, metavar="N")
    score.add_argument("--seed", type=seed_number, default=0, metavar="S")
    score.add_argument("--json", type=some_path, metavar="FILE", help="write the shares here")
    concept = actions.add_parser("concept", help="render a new individual's pictures")
    concept.add_argument("--seed", type=seed_number, required=True, metavar="N")
    concept.add_argument("--out", type=some_path, required=True, metavar="DIR")
