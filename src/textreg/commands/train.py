"""`textreg train`: flags to a run, progress to the terminal."""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
from pathlib import Path
from typing import Any

from textreg.concept import concept_noun, folder_of_concepts
from textreg.config import Run
from textreg.errors import UserError
from textreg.interrupt import STOPPED, stop_flag
from textreg.kohya_folders import KohyaName, concept_folders
from textreg.prompts import read_prompt_file
from textreg.ranks import ALONE, Ranks, of_torchrun
from textreg.run_folder import RunFolder
from textreg.settings import build_run, concepts_in


def train_command(arguments: argparse.Namespace, flags: dict[str, Any]) -> int:
    """Train, or go on training; returns the exit code."""
    flags["concepts"] = concepts_of(arguments)
    if arguments.prompts_file is not None:
        flags["images.templates"] = tuple(read_prompt_file(arguments.prompts_file))
    if arguments.sample_every is not None:
        flags["sample_every"] = arguments.sample_every
    if arguments.sample_prompts is not None:
        flags["sample_prompts"] = tuple(read_prompt_file(arguments.sample_prompts))
    if arguments.out is not None:
        flags["out"] = arguments.out
    place = Path("runs") / "-".join(c["images"].name for c in flags["concepts"])
    run = build_run(flags, preset=arguments.preset, file=arguments.config, defaults={"out": place})
    if arguments.resume and not RunFolder(run).begun:
        raise UserError(f"--resume: no run has begun in {run.out}; leave --resume out to begin one")
    ranks = of_torchrun()
    if arguments.force_new and ranks.first:
        _begin_anew(run, arguments.take_over)
    if arguments.deterministic:
        from textreg.determinism import deterministic

        deterministic()
    if RunFolder(run).finished:
        from textreg.run_pictures import refuse_other_pictures

        refuse_other_pictures(run)
        print(f"{run.out}: this run is finished; nothing to do. To start over: --force-new")
        return 0
    again = resume_command(ranks)
    return run_with_progress(run, again, arguments.track, arguments.take_over, ranks)


def _begin_anew(run: Run, take_over: bool) -> None:
    """Put the run that is there aside, once the new one's pictures can be read."""
    from textreg.run_pictures import check_pictures
    from textreg.starting_over import put_aside

    check_pictures(run)
    if aside := put_aside(run.out, take_over=take_over):
        print(f"textreg: the run that was in {run.out} is in {aside} now", file=sys.stderr)


def concepts_of(arguments: argparse.Namespace, *, numbered: bool = True) -> list[dict[str, Any]]:
    """The concepts that the flags name; each its own word.

    What a --config says of a folder holds where no flag says anything; of folders that are not
    named it may say what it likes, as one file may tell of all that a user has.

    Args:
        arguments: of the command.
        numbered: give words to those of several that have none of their own.

    Raises:
        UserError: no noun is known for a folder, or one identifier for several concepts.
    """
    folders: list[tuple[Path, KohyaName | None]] = []
    for images in arguments.images:
        images = images.resolve() if images.name in ("", "..") else images
        folders += concept_folders(images).items() or [(images, None)]
    file = {} if arguments.config is None else concepts_in(arguments.config)
    told = [file.get(images.resolve(), {}) for images, _ in folders]
    taken = {own.get("identifier") for own in told}
    others = (f"<krk{n}>" for n in itertools.count(len(folders) + 1))
    several, named = len(folders) > 1, arguments.identifier is not None
    if several and named:
        raise UserError("--identifier names one word, but there are several concepts: leave it out")
    concepts: list[dict[str, Any]] = []
    for number, ((images, kohya), own) in enumerate(zip(folders, told, strict=True), 1):
        known = own.get("noun") or (kohya.noun if kohya else concept_noun(images.name))
        # An empty word, as from a variable that is not set, is not "none given".
        noun = known if arguments.noun is None else arguments.noun.strip()
        if not noun:
            why = "no class noun; say what it shows with --noun, like cat"
            raise UserError(f"{images}: {folder_of_concepts(images) or why}")
        concept: dict[str, Any] = own | {"images": images, "noun": noun}
        if named:
            concept["identifier"] = arguments.identifier
        elif (several and numbered) or kohya:
            word = kohya.identifier if kohya else f"<krk{number}>"
            if not kohya and word in taken:
                word = next(other for other in others if other not in taken)
            concept.setdefault("identifier", word)
        if arguments.property:
            concept["learnable_property"] = arguments.property
        concepts.append(concept)
    return concepts


def resume_command(ranks: Ranks = ALONE) -> str:
    """What the user typed, ready to be pasted again: without what would begin anew once more."""
    program = [Path(sys.argv[0]).name]
    if program == ["__main__.py"]:
        start = ["torchrun", "--nproc-per-node", str(ranks.local_size)]
        program = [*(start if ranks.size > 1 else ["python"]), "-m", "textreg"]
    return shlex.join([*program, *(word for word in sys.argv[1:] if word != "--force-new")])


def run_with_progress(
    run: Run,
    again: str,
    track: str | None = None,
    take_over: bool = False,
    ranks: Ranks = ALONE,
) -> int:
    """Learn a run while its losses and drift are shown, rank 0's; returns the exit code."""
    from textreg.adapter import GATED
    from textreg.commands.progress import TrainingProgress
    from textreg.front import best_line
    from textreg.run_pictures import check_pictures
    from textreg.track import tracker

    folders = check_pictures(run)
    track = track if ranks.first else None
    with (
        stop_flag(patient=ranks.size > 1) as stop,
        tracker(track, run) as log,
        TrainingProgress(run, ranks) as progress,
    ):
        for folder in folders:
            for warning in folder.warnings:
                progress.tell(folder.located(warning))

        from textreg.learning import learn

        def on_step(record: Any) -> bool:
            stop.immediate = False
            progress.show(record)
            log.write(record)
            return stop.is_set()

        try:
            adapters = learn(
                run,
                folders=folders,
                on_step=on_step,
                on_trained=stop.at_once,
                on_sample=log.picture,
                take_over=take_over,
                ranks=ranks,
            )
        except KeyboardInterrupt:
            adapters = None  # while loading or drawing, where nothing is lost by it
    if adapters is None:
        if ranks.first:
            print(f"stopped; to go on: {again}", file=sys.stderr)
        return STOPPED
    if not ranks.first:
        return 0
    for concept, adapter in zip(run.concepts, adapters, strict=True):
        folder = RunFolder(run).concept_folder(concept.name)
        print(f'{folder}: learned "{adapter.identifier} {adapter.noun}"')
        if adapter.edited_tokens != "all":
            print(f"  {GATED}")
        if line := best_line(folder):
            print(f"  {line}")
        print(f"  textreg sample {shlex.quote(str(folder))} --prompt {shlex.quote(adapter.prompt)}")
    return 0
