"""Frozen weights side by side in memory, in large pages where the system has them.

A small model's pass reads each weight once. In pages of 4 KiB, looking up where they are takes up
to a tenth of it on a processor of a virtual machine (decision 0082).
"""

from __future__ import annotations

import mmap

import torch
from torch import Tensor, nn

_ALIGNED = 64
"""Bytes at whose multiples a weight begins, as torch's own allocator has it."""


@torch.no_grad()
def lay_together(model: nn.Module) -> None:
    """Move a model's weights, which stay on the CPU and as they are, into one stretch of memory.

    Nothing of a file that they were read from is needed after that: where a file is mapped, it is
    in memory as a whole for as long as one weight lies in it.
    """
    weights = list(model.parameters())
    rooms = [-(-weight.nbytes // _ALIGNED) * _ALIGNED for weight in weights]
    memory = _stretch(sum(rooms))
    for weight, own in zip(weights, memory.split(rooms), strict=True):
        flat = own[: weight.nbytes].view(weight.dtype)
        laid = flat.as_strided(weight.shape, weight.stride(), flat.storage_offset())
        weight.data = laid.copy_(weight)


def _stretch(size: int) -> Tensor:
    """So many bytes."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            pages.madvise(mmap.MADV_HUGEPAGE)
            return torch.frombuffer(pages, dtype=torch.uint8)
        except OSError:
            pass  # a system without large pages, or too little memory, which torch's error says
    return torch.empty(size, dtype=torch.uint8)
