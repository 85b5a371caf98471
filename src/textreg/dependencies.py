"""Whether what is installed is what this package was tested with, and what it may do without."""

from __future__ import annotations

import functools
import importlib
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from textreg.errors import UserError


@functools.cache
def check_versions() -> None:
    """Compare each dependency's version with the range that this package declares, once a process.

    Raises:
        UserError: one is missing or out of its range; names each with its version.
    """
    wrong: list[str] = []
    for text in metadata.requires("textreg") or ():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing, needed is {wanted.specifier}")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} is {found}, needed is {wanted.specifier}")
    if wrong:
        raise UserError(f"{'; '.join(wrong)}; install the package again with pip to mend this")


def optional(module: str, asked: str, package: str, extra: str) -> Any:
    """Import a module of a package that only some need.

    Args:
        module: its name.
        asked: what needs it, as the user typed it.
        package: the package's name.
        extra: our extra that brings it.

    Raises:
        UserError: it is not installed; names package and extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise UserError(
            f"{asked}: the package {package} is not installed; pip install -e '.[{extra}]'"
        ) from None
