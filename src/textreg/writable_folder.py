"""A folder that results will go to, tried before anything slow."""

from __future__ import annotations

from pathlib import Path

from textreg.errors import UserError


def open_folder(folder: Path, named: str = "") -> None:
    """Make a folder, or see that it can be written.

    Args:
        folder: where results will go.
        named: what stands before it in a message, like "--out ".

    Raises:
        UserError: it can neither be made nor written.
    """
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may have tried as well
    except OSError as error:
        raise UserError(f"{named}{folder}: cannot be written ({error.strerror})") from None
