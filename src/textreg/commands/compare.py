"""`textreg compare`: flags to a comparison, progress and the table to the terminal."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from textreg.compare.variants import variants_of
from textreg.interrupt import STOPPED, StopFlag, stop_flag


def compare_command(arguments: argparse.Namespace, flags: dict[str, Any]) -> int:
    """Compare priors, or go on comparing; returns the exit code."""
    from textreg.commands.train import concepts_of, resume_command

    variants = variants_of(arguments.priors)
    # Each is a run of its own, whoever else is compared; so is its word.
    flags["concepts"] = concepts_of(arguments, numbered=False)
    for concept in flags["concepts"] if len(flags["concepts"]) > 1 else ():
        if (word := concept.pop("identifier", None)) is not None:
            # Of its folder's name, or of the file: its captions may call it so.
            concept["trigger"] = concept.get("trigger") or word
    with stop_flag() as stop:
        content = _compare(arguments, flags, variants, stop)
    if content is None:
        print(f"stopped; to go on: {resume_command()}", file=sys.stderr)
        return STOPPED
    _print_tables(content, arguments.out)
    return 1 if content["quarantined"] else 0


def _compare(
    arguments: argparse.Namespace, flags: dict[str, Any], variants: Any, stop: StopFlag
) -> dict[str, Any] | None:
    from textreg.commands.evaluate import extractor_of
    from textreg.commands.progress import new_progress
    from textreg.compare.comparison import EPSILON_PROMPTS, NUM_IMAGES, Comparison, Watch, compare
    from textreg.evaluate import Options

    words = arguments.features or ["judge"]
    extractors = [extractor_of(word, arguments.device or "auto") for word in words]
    with new_progress() as progress:
        task = progress.add_task("loading", total=1, note="")

        def on_step(run: Any, done: int) -> bool:
            stop.immediate = False
            name = _place(arguments.out, run.out)
            progress.update(
                task, description="learning", completed=done, total=run.total_steps, note=name
            )
            return stop.is_set()

        def drawing(folder: Path) -> None:
            stop.at_once()
            place = _place(arguments.out, folder)
            progress.update(task, description="drawing", completed=0, note=place)

        def measuring(folder: Path) -> None:
            stop.at_once()
            progress.update(task, note=_place(arguments.out, folder))

        content = compare(
            Comparison(
                flags=flags,
                variants=variants,
                out=arguments.out,
                seeds=arguments.seeds,
                equal=arguments.equal,
                preset=arguments.preset,
                file=arguments.config,
            ),
            extractors,
            Options(
                num_images=NUM_IMAGES if arguments.num_images is None else arguments.num_images,
                epsilon_prompts=EPSILON_PROMPTS
                if arguments.epsilon_prompts is None
                else arguments.epsilon_prompts,
                prompts=arguments.prompts,
            ),
            Watch(
                step=on_step,
                drawing=drawing,
                measuring=measuring,
                tell=lambda step, done, total: progress.update(
                    task, description=step, completed=done, total=total
                ),
            ),
        )
        if content is not None:
            progress.update(task, description="done", completed=1, total=1, note="")
        return content


def _place(out: Path, folder: Path) -> str:
    return str(folder.relative_to(out))


def _print_tables(content: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from textreg.compare.table import table

    console = Console()
    # Numbers cut off by a narrow terminal would tell nothing; it may wrap the lines instead.
    console.width = max(console.width, 132)
    for kind in ("steps", "time"):
        if kind not in content["summary"]:
            continue
        header, *lines = table(content["summary"], kind)
        # Labels may hold brackets, which rich would read as colours.
        shown = Table(title=escape(f"at equal {kind}, against {content['summary']['reference']}"))
        for word in header:
            shown.add_column(word, overflow="fold")
        for label, *numbers in lines:
            shown.add_row(escape(label), *(escape(n.replace(" [", "\n[")) for n in numbers))
        console.print(shown)
    for line in content["left_out"]:
        print(f"left out: {line}")
    print("drift in % of what the prompt does; more, less, equal: than the reference; ?: undecided")
    print(out / "compare.html")
