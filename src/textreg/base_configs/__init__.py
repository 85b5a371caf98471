"""The model families' own configurations, for a checkpoint that is one file. Imports no torch.

A folder a family, laid out as a diffusers folder without weights: sizes and schedules are facts of
Stable Diffusion 1.5, 2 (512 pixels, noise), 2 (768 pixels, velocity) and XL. CLIP's 48,894 merges,
which all their tokenizers share, are those of OpenAI's CLIP (MIT licence, LICENSE.clip).
"""

from __future__ import annotations

import functools
import gzip
from collections.abc import Sequence
from pathlib import Path

CONFIGS = Path(__file__).parent
Merge = tuple[str, str]


@functools.cache
def clip_merges() -> tuple[Merge, ...]:
    """CLIP's byte-pair merges, in order."""
    text = gzip.decompress((CONFIGS / "clip_merges.txt.gz").read_bytes()).decode("utf-8")
    return tuple((a, b) for a, b in (line.split() for line in text.splitlines()))


def vocabulary(merges: Sequence[Merge]) -> dict[str, int]:
    """A byte-level BPE vocabulary in CLIP's order: bytes, word ends, merges, start and end."""
    symbols = _byte_symbols()
    tokens = symbols + [s + "</w>" for s in symbols] + ["".join(m) for m in merges]
    return {token: n for n, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}


def _byte_symbols() -> list[str]:
    """The 256 printable stand-ins of byte-level BPE, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + n) for n, _ in enumerate(others)]
