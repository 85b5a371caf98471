"""`--deterministic`: kernels that give the same bytes each time, or the name of one that cannot."""

from __future__ import annotations

import os

import torch


def deterministic() -> None:
    """From here on an operation without such a kernel raises; `refused` puts that into words.

    On the CPU nothing changes: every kernel that a run uses is deterministic there.
    """
    # cuBLAS reads it when it is first used; two work spaces of 4 MiB are enough for that.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


def refused(error: RuntimeError) -> str | None:
    """What to say if this is an operation that has no such kernel."""
    if not torch.are_deterministic_algorithms_enabled() or "determinis" not in str(error):
        return None
    name = str(error).split(" does not have", 1)[0]
    return f"--deterministic: {name} has no deterministic form here; leave --deterministic out"
