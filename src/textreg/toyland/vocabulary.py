"""The base's tokenizer: byte-level byte-pair encoding, learned from the caption grammar."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from .captions import vocabulary_corpus

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

MAX_LENGTH = 32
"""Tokens of a prompt, start and end among them."""


def _byte_letters() -> list[str]:
    """Return the 256 printable letters by which CLIP writes bytes, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable]
    return letters + [chr(256 + n) for n in range(256 - len(printable))]


def learn_merges(words: dict[str, int], num_merges: int) -> list[tuple[str, str]]:
    """Merge the most frequent neighbouring pair of symbols again and again.

    Args:
        words: lower-case ASCII words and their counts.
        num_merges: upper limit; fewer are made when every word is one symbol.

    Returns:
        The merges in order; ties go to the alphabetically first pair.
    """
    symbols: dict[str, tuple[str, ...]] = {
        word: (*word[:-1], word[-1] + "</w>") for word in sorted(words)
    }
    merges: list[tuple[str, str]] = []
    while len(merges) < num_merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in symbols.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in symbols.items():
            merged: list[str] = []
            for part in parts:
                if merged and (merged[-1], part) == best:
                    merged[-1] += part
                else:
                    merged.append(part)
            symbols[word] = tuple(merged)
    return merges


def build_tokenizer(num_merges: int = 700) -> CLIPTokenizer:
    """Return the CLIP tokenizer whose words are those of the caption grammar."""
    from transformers import CLIPTokenizer

    merges = learn_merges(vocabulary_corpus(), num_merges)
    letters = _byte_letters()
    tokens = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *dict.fromkeys(left + right for left, right in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,  # type: ignore[arg-type]
        model_max_length=MAX_LENGTH,
    )
