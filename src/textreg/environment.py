"""What a run was made with: versions and hardware, for the records beside results."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from typing import Any

_PACKAGES = ("textreg", "torch", "diffusers", "transformers", "safetensors", "numpy", "Pillow")


def environment() -> dict[str, Any]:
    """Versions and hardware, without names of machines or people."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "packages": dict(_versions()),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }


@functools.cache
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES}
