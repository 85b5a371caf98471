"""Which operators a call spends its time in: what a profile of a slow step is read off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def operator_shares(
    work: Callable[[], object], device: torch.device, most: int = 8
) -> list[dict[str, Any]]:
    """Operators by their own share of a call's time, the largest first.

    Args:
        work: called once to warm up, and once to be looked at.
        device: whose time it is; a GPU's kernels by their own names.
        most: operators.
    """
    gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    work()
    with profile(activities=activities) as seen:
        work()
        if gpu:
            torch.cuda.synchronize(device)
    times = {
        event.key: (event.self_device_time_total if gpu else event.self_cpu_time_total, event.count)
        for event in seen.key_averages()
    }
    whole = sum(time for time, _ in times.values())
    first = sorted(times.items(), key=lambda item: -item[1][0])[:most]
    return [
        {"operator": name, "calls": calls, "share": time / whole} for name, (time, calls) in first
    ]
