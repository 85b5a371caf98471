"""`--force-new`: a run's folder is put aside, whole, so that another run can begin in its place.

Nothing is deleted: what a run made in hours should not hang on one word of a command line.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

from textreg.errors import UserError
from textreg.run_lock import locked


def put_aside(folder: Path, *, take_over: bool = False) -> Path | None:
    """Rename the folder of a run, RUN to RUN.1 or the next number that is free.

    Args:
        folder: to be free then.
        take_over: also where a process of another machine is on record.

    Returns:
        Where the run lies now; none: no run has begun there, and nothing was touched.

    Raises:
        UserError: the folder is in use, is where the command was given, or cannot be renamed.
    """
    if not (folder / "run.yaml").is_file():
        return None
    place = folder.absolute()
    if Path.cwd().is_relative_to(place.resolve()):
        raise UserError(f"--force-new: {folder} is where you are; name it from outside of it")
    with locked(folder, take_over=take_over):
        names = (place.with_name(f"{place.name}.{n}") for n in count(1))
        aside = next(name for name in names if not name.exists() and not name.is_symlink())
        try:
            place.rename(aside)
        except OSError as error:
            raise UserError(
                f"--force-new: {folder} cannot be renamed to {aside.name} ({error.strerror}); "
                "choose another --out"
            ) from None
    return folder.with_name(aside.name)
