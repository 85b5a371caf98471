"""`textreg import`: an adapter's file, from whatever program, to a run's folder."""

from __future__ import annotations

import argparse
import shlex


def import_command(arguments: argparse.Namespace) -> int:
    """Make the folder; returns the exit code."""
    from textreg.adapter.reading import Told
    from textreg.importing import import_file

    told = Told(
        identifier=arguments.identifier,
        noun=arguments.noun,
        learnable_property=arguments.property,
        embedding=arguments.embedding,
    )
    adapter, form = import_file(arguments.file, arguments.out, told, base=arguments.base)
    print(
        f'{arguments.out}: "{adapter.identifier} {adapter.noun}", rank {adapter.rank}, of a file '
        f"in the form of {form}"
    )
    place = shlex.quote(str(arguments.out))
    print(f"  textreg sample {place} --prompt {shlex.quote(adapter.prompt)}")
    return 0
