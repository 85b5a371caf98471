"""The command in a process whose memory lies in large pages (decision 0082).

With 4 KiB a page, finding where memory is takes a fifth of a small model's step on a processor of a
virtual machine. The C library asks for large pages if it is told to before a program begins.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

TUNABLES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""What a process is started with to ask for them."""
GIVEN_TO = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_in_large_pages() -> None:
    """Begin this program anew, told to ask for large pages; does not return then.

    It returns where the system does not give them to whoever asks, or lets no program begin; where
    the user has settings of the C library's, even empty ones; and where a debugger or profiler
    watches, which would begin anew as well.
    """
    watched = sys.gettrace() or sys.getprofile()
    if watched or not sys.executable or not TUNABLES.keys().isdisjoint(os.environ):
        return
    try:
        if "[madvise]" not in GIVEN_TO.read_text():
            return
    except OSError:
        return  # no Linux
    with contextlib.suppress(OSError):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **TUNABLES})
