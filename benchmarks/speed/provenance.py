"""What a figure needs to mean anything: hardware, versions, commit, load; and its file."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


_CODE = ("--", ":/", ":!/benchmarks/results", ":!/docs")
"""Everything but results and the pages that show them, which measuring itself writes."""


def provenance() -> dict[str, Any]:
    """Hardware, versions, commit and load; no name of a machine or a person."""
    from textreg.environment import environment

    return {
        "hardware": processor(),
        "memory_gibibytes": round(_memory() / 2**30, 1),
        "large_pages": _large_pages(),
        "environment": environment(),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed_since": bool(_git("status", "--porcelain", "--untracked-files=no", *_CODE)),
        "load_average": round(os.getloadavg()[0], 2),
        "niceness": os.nice(0),
    }


def processor() -> str:
    """The processor's name as the kernel gives it, and what of its precision matters here."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "unknown processor"
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    features = [
        f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in named.get("flags", "")
    ]
    return (
        f"{os.cpu_count()} x {named.get('model name', 'unknown processor')} ({' '.join(features)})"
    )


def peak_gibibytes(gpu: Any = None) -> float:
    """Peak resident memory of this process, or what it had at most of a GPU, a torch.device.

    Not getrusage's: a child started by vfork inherits its parent's peak there.
    """
    if gpu is not None:
        import torch

        return torch.cuda.max_memory_allocated(gpu) / 2**30
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError("this kernel does not say how much memory a process had")


def write_report(report: dict[str, Any], path: Path | None) -> None:
    """Print a report as JSON, and write it if a file is named."""
    text = json.dumps(rounded(report), indent=2) + "\n"
    print(text, end="", flush=True)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def rounded(value: Any) -> Any:
    """Nested data with every float to four significant digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def _large_pages() -> str:
    """To whom the system gives large pages, and whether this process asks for them."""
    from textreg.large_pages import GIVEN_TO, TUNABLES

    try:
        given = GIVEN_TO.read_text().strip()
    except OSError:
        return "not given"
    asks = all(os.environ.get(name) == value for name, value in TUNABLES.items())
    return f"{given}; {'asked for' if asks else 'not asked for'}"


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
