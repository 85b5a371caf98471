"""One run a folder: a lock that the kernel releases with its process, and a record for people.

The record says who holds the folder, and is empty once the holder has left in peace. A record of
this machine under a free lock is that of a killed process. One of another machine is believed, as
not every shared disk carries locks from machine to machine.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from textreg.errors import UserError
from textreg.file_kinds import printable

LOCK_FILE = ".lock"
_MOST_RECORD = 4096
"""Bytes."""


@contextlib.contextmanager
def locked(folder: Path, *, take_over: bool = False) -> Generator[None]:
    """Hold a folder's lock.

    Args:
        folder: what to hold; it is there.
        take_over: go on where a process of another machine is on record.

    Raises:
        UserError: another process holds it, or the lock's file cannot be used.
    """
    path = folder / LOCK_FILE
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise UserError(
            f"--out {folder}: cannot be written ({error.strerror}); choose another folder"
        ) from None
    try:
        _take(file, folder, take_over)
        try:
            yield
        finally:
            # Only for people; under a free lock a record that stays does no harm.
            with contextlib.suppress(OSError):
                os.ftruncate(file, 0)
    finally:
        os.close(file)


def _take(file: int, folder: Path, take_over: bool) -> None:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise UserError(f"{folder / LOCK_FILE}: is not a plain file; remove it")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        record = _record(file)
        if record and record["host"] != socket.gethostname() and not take_over:
            raise UserError(
                f"{folder}: in use by {_told(record)}, another machine; if that process is gone, "
                "add --take-over"
            )
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(_own()).encode(), 0)
    except BlockingIOError:
        holder = _record(file)
        raise UserError(
            f"{folder}: in use by {_told(holder) if holder else 'another process'}; "
            "wait for it or choose another --out"
        ) from None
    except OSError as error:
        can_lock = error.errno not in (errno.ENOLCK, errno.ENOTSUP)
        raise UserError(
            f"{folder / LOCK_FILE}: cannot be {'written' if can_lock else 'locked'} "
            f"({error.strerror}); choose another --out"
        ) from None


def _own() -> dict[str, Any]:
    return {"process": os.getpid(), "host": socket.gethostname(), "since": time.time()}


def _record(file: int) -> dict[str, Any] | None:
    """Who wrote the record, if it is whole."""
    try:
        record = json.loads(os.pread(file, _MOST_RECORD, 0))
        return {
            "process": int(record["process"]),
            "host": str(record["host"]),
            "since": float(record["since"]),
        }
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _told(record: dict[str, Any]) -> str:
    """The record in words; no age where a clock was set back since."""
    age = time.time() - record["since"]
    unit, length = next((u for u in _UNITS if age >= u[1]), _UNITS[-1])
    count = int(age // length) if 0 <= age < 1e10 else None
    since = "" if count is None else f", for {count} {unit}{'' if count == 1 else 's'}"
    return f"process {record['process']} on {printable(record['host'])}{since}"


_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
