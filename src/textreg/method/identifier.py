"""The new word: its tokens, its first vectors, and the pull on their norms (METHOD 2).

A word of several vectors is as many tokens: <krk1>, <krk1>_1, <krk1>_2, as in diffusers.

The embedding table is never written: the word's vectors live outside it and are put in place
when a prompt is embedded (text_features.py), so every other row stays bit-identical.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def identifier_tokens(identifier: str, vectors: int) -> list[str]:
    """The texts of a word's tokens, one a vector.

    Source: diffusers, TextualInversionLoaderMixin.
    """
    return [identifier, *(f"{identifier}_{n}" for n in range(1, vectors))]


def add_identifier(tokenizer: Any, identifier: str, noun: str, vectors: int = 1) -> int:
    """Add the identifier, one token a vector, and return the first one's id; the others follow.

    Args:
        tokenizer: CLIP tokenizer; it is changed.
        identifier: the new word, lower case.
        noun: class noun that will follow it; its own tokens must not change.
        vectors: how many the word has.

    Raises:
        ValueError: the word is not lower case, is a token already, contains blanks, does not
            become exactly one new token a vector, or changes how the noun is read.
    """
    if not identifier or identifier.split() != [identifier]:
        raise ValueError(f"identifier {identifier!r}: it must be one word without blanks")
    if identifier != identifier.lower():
        raise ValueError(f"identifier {identifier!r} is not lower case; use {identifier.lower()!r}")
    if "</w>" in identifier or not identifier.isprintable():
        raise ValueError(f"identifier {identifier!r} has characters a tokenizer treats specially")
    vocabulary = tokenizer.get_vocab()
    words = identifier_tokens(identifier, vectors)
    if any(word in vocabulary or f"{word}</w>" in vocabulary for word in words):
        raise ValueError(
            f"identifier {identifier!r} is already a token of this base; choose a new word, "
            f"like '<{identifier.strip('<>')}1>'"
        )
    noun_before = tokenizer.encode(f"a {noun}", add_special_tokens=False)
    tokenizer.add_tokens(words)
    new_id = int(tokenizer.convert_tokens_to_ids(identifier))
    new_ids = list(range(new_id, new_id + vectors))
    read_as = tokenizer.encode(f"a {' '.join(words)} {noun}", add_special_tokens=False)
    if new_id in vocabulary.values() or read_as != [noun_before[0], *new_ids, *noun_before[1:]]:
        raise ValueError(
            f"identifier {identifier!r} is not read as one new token before {noun!r}; "
            "choose a word in angle brackets, like '<krk1>'"
        )
    return new_id


def initial_vector(table: Tensor, tokenizer: Any, token: str) -> Tensor:
    """A copy of the embedding row of one existing token.

    Args:
        table: embedding rows, [vocabulary, width].
        tokenizer: CLIP tokenizer.
        token: the token's text as the vocabulary has it, with or without its word end.

    Returns:
        [width] float32.

    Raises:
        ValueError: the vocabulary has no such token.
    """
    return table[token_row(tokenizer, token, table.shape[0])].detach().float().clone()


def token_row(tokenizer: Any, token: str, rows: int) -> int:
    """The row of one token of the base's own vocabulary.

    Args:
        tokenizer: CLIP tokenizer, with or without added words.
        token: as in `initial_vector`.
        rows: of the base's own table; words added since have later ones.

    Raises:
        ValueError: the vocabulary has no such token.
    """
    vocabulary = tokenizer.get_vocab()
    # "dog</w>" is the word; "dog" without the word end is the beginning of longer ones.
    for name in (f"{token}</w>", token):
        if vocabulary.get(name, rows) < rows:
            return vocabulary[name]
    raise ValueError(f"initial token {token!r} is not in this base's vocabulary; name one that is")


@torch.no_grad()
def pull_norm(vectors: Tensor, initial_norm: Tensor, learning_rate: Tensor | float) -> None:
    """Pull each vector's norm back to its first norm, in place: v <- (v/n)(n + lam (n0 - n)).

    lam = min(1, 100 lr), n = ||v||, n0 = ||v_init||.

    Args:
        vectors: [..., width].
        initial_norm: n0, [...].
        learning_rate: lr of the step that was just taken, one or what broadcasts to [...].

    Source: METHOD 2.4; original TextReg, `--ti_reg_type decay`.
    """
    rate = torch.as_tensor(learning_rate, dtype=torch.float64, device=vectors.device)
    pull = (100 * rate).clamp(max=1).to(vectors.dtype)
    norm = torch.linalg.vector_norm(vectors, dim=-1)
    # A vector of norm 0 has no direction to keep.
    factor = torch.where(norm > 0, (norm + pull * (initial_norm - norm)) / norm, 1.0)
    vectors.mul_(factor[..., None])
