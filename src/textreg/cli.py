"""The verbs of the `textreg` command. Imports no torch until a verb runs."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from textreg.dependencies import check_versions
from textreg.errors import GroupEnded, QuarantineError, UserError, of_machine
from textreg.large_pages import restart_in_large_pages
from textreg.parser import parser
from textreg.ranks import Ranks, of_torchrun
from textreg.run_flags import RUN_FLAGS


def train(arguments: argparse.Namespace) -> int:
    """Learn concepts."""
    from textreg.commands.train import train_command

    return train_command(arguments, _run_flags(arguments))


def _run_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings of a run that were given, by dotted key."""
    given = {
        key: getattr(arguments, flag[2:].replace("-", "_"), None)
        for flag, (key, _) in RUN_FLAGS.items()
    }
    return {key: value for key, value in given.items() if value is not None}


def sample(arguments: argparse.Namespace) -> int:
    """Draw pictures."""
    from textreg.commands.sample import sample_command

    return sample_command(arguments)


def export(arguments: argparse.Namespace) -> int:
    """Write a concept for other programs."""
    from textreg.commands.export import export_command

    return export_command(arguments)


def import_(arguments: argparse.Namespace) -> int:
    """Make a run's folder of a file."""
    from textreg.commands.import_file import import_command

    return import_command(arguments)


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure a run."""
    from textreg.commands.evaluate import evaluate_command

    return evaluate_command(arguments)


def compare(arguments: argparse.Namespace) -> int:
    """Compare priors."""
    from textreg.commands.compare import compare_command

    return compare_command(arguments, _run_flags(arguments))


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
    "export": export,
    "import": import_,
    "evaluate": evaluate,
    "compare": compare,
    "check": check,
    "demo": demo,
    "toyland": toyland,
}


_LONG = {"train", "sample", "evaluate", "compare", "demo"}
"""Verbs whose work is worth a new start of the program."""


def command() -> int:
    """What a shell runs: `main` of its words, in a process as fast as it can be."""
    verb, *flags = sys.argv[1:] or [""]
    # A process of torchrun's is one of several that wait for each other.
    if verb in _LONG and not {"-h", "--help"} & set(flags) and of_torchrun().size == 1:
        restart_in_large_pages()
    return main()


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    Of the processes that torchrun starts, rank 0 does this. The others wait for its plan, and join
    in if there is one for them.
    """
    ranks = of_torchrun()
    if not ranks.first:
        return _join(words, ranks)
    try:
        return _answer(words)
    finally:
        with contextlib.suppress(GroupEnded):
            ranks.plan(None)  # lets the others go, if they were told of no plan


def _join(words: Sequence[str] | None, ranks: Ranks) -> int:
    # Nothing is open yet; and a wait for the plan would see no signal.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return 0 if ranks.plan() is None else _answer(words)
    except GroupEnded:
        return 3


def _answer(words: Sequence[str] | None) -> int:
    arguments = parser().parse_args(words)
    try:
        check_versions()
        return _VERBS[arguments.verb](arguments)
    except UserError as error:
        print(f"textreg: {error}", file=sys.stderr)
        return 2
    except QuarantineError as error:
        _say_once(str(error))
        return 1
    except GroupEnded as error:
        _say_once(str(error))
        return 3
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing is left to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, MemoryError, RuntimeError) as error:
        if (line := of_machine(error)) is None:
            raise
        print(f"textreg: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        _say_once("stopped; the same command goes on")
        return 3


def _say_once(line: str) -> None:
    """What every rank comes to know is said by the first."""
    if of_torchrun().first:
        print(f"textreg: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(command())
