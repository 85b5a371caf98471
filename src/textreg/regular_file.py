"""Read a file that a stranger may have made: never wait for a pipe, never read more than a cap."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from textreg.errors import UserError


def read_regular(path: Path, *, most: int, named: str = "", missing: str = "") -> bytes:
    """The bytes of a plain file.

    Args:
        path: the file, or a link to it.
        most: bytes that such a file may have.
        named: what stands before the path in a message, like "--config ".
        missing: what to add when it cannot be opened.

    Raises:
        UserError: it cannot be opened, is a pipe, device or folder, or is larger than that.
    """
    try:
        # A pipe is opened without waiting for its other end, and refused.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{named}{path}: is not a plain file")
            # Some files of the system tell no size: what is read decides.
            data = file.read(most + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        # A NUL byte in a path is a ValueError.
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{named}{path}: {why}{missing}") from None
    if len(data) > most:
        raise UserError(f"{named}{path}: has more than {most:,} bytes; it is no such file")
    return data
