"""Numbers that the host drew, on the device, without waiting for what the device has to do."""

from __future__ import annotations

import torch
from torch import Tensor


def on_device(values: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of the host, on a device.

    To a GPU it goes from pinned memory: from any other, the host waits until all that the GPU was
    given before is done.

    Args:
        values: on the host.
        device: where to.
        dtype: what to become first; none: as it is.
    """
    values = values.to(dtype or values.dtype)
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
