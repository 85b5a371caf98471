"""One new token and nothing else; the first vector; the pull on the norm (METHOD 2)."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPTokenizer

from textreg.method.identifier import add_identifier, initial_vector, pull_norm

TEXTS = [
    "a photo of a cat",
    "the dog, in a tub!",
    "krk1 <krk> krk 1",
    "<|startoftext|> a",
    "\u00e9",
]


@pytest.fixture
def tokenizer(tiny_base: Path) -> Any:
    return CLIPTokenizer.from_pretrained(tiny_base / "tokenizer")


@pytest.mark.parametrize("identifier", ["<krk1>", "krk1", "<vox-2>", "\u00e91"])
def test_one_new_id_and_other_texts_unchanged(tokenizer: Any, identifier: str) -> None:
    texts = [text for text in TEXTS if identifier not in text]
    known, before = tokenizer.get_vocab(), [tokenizer.encode(text) for text in texts]
    new_id = add_identifier(tokenizer, identifier, "tub cat")
    assert new_id not in known.values()
    assert len(tokenizer) == len(known) + 1
    assert tokenizer.encode(identifier, add_special_tokens=False) == [new_id]
    assert tokenizer.encode(f"a {identifier} tub cat").count(new_id) == 1
    assert [tokenizer.encode(text) for text in texts] == before


@pytest.mark.parametrize(
    ("identifier", "noun", "why"),
    [
        ("<KRK1>", "cat", "not lower case; use '<krk1>'"),
        ("", "cat", "one word without blanks"),
        (" <krk1>", "cat", "one word without blanks"),
        ("<krk 1>", "cat", "one word without blanks"),
        ("<krk\u00a01>", "cat", "one word without blanks"),
        ("<krk\n1>", "cat", "one word without blanks"),
        ("<krk\u200b1>", "cat", "characters a tokenizer treats specially"),
        ("krk</w>", "cat", "characters a tokenizer treats specially"),
        ("cat", "dog", "already a token"),
        ("ktn", "cat", "already a token"),
        ("ca", "cat", "already a token"),
        ("x", "cat", "already a token"),
        ("<|endoftext|>", "cat", "already a token"),
        ("tu", "tub", "not read as one new token before 'tub'"),
        ("ub", "tub", "not read as one new token before 'tub'"),
        ("tub", "tub", "not read as one new token before 'tub'"),
        ("tub", "tub cat", "not read as one new token before 'tub cat'"),
    ],
)
def test_words_that_cannot_be_new_are_refused(
    tokenizer: Any, identifier: str, noun: str, why: str
) -> None:
    with pytest.raises(ValueError, match="identifier") as refusal:
        add_identifier(tokenizer, identifier, noun)
    assert why in str(refusal.value)


def test_a_second_identifier_like_the_first_is_refused(tokenizer: Any) -> None:
    add_identifier(tokenizer, "<krk1>", "cat")
    with pytest.raises(ValueError, match="already a token"):
        add_identifier(tokenizer, "<krk1>", "cat")


def test_initial_vector_is_a_copy_of_the_tokens_row(tokenizer: Any) -> None:
    table = torch.randn(len(tokenizer), 8, dtype=torch.float64)
    kept = table.clone()
    vector = initial_vector(table, tokenizer, "ktn")
    row = table[tokenizer.encode("ktn", add_special_tokens=False)[0]]
    assert torch.equal(vector, row.float())
    whole = tokenizer.get_vocab()["a</w>"]  # the vocabulary has the beginning "a" as well
    assert torch.equal(initial_vector(table, tokenizer, "a"), table[whole].float())
    assert torch.equal(initial_vector(table, tokenizer, "a</w>"), table[whole].float())
    vector.zero_()
    assert torch.equal(table, kept)
    with pytest.raises(ValueError, match="'nothing'"):
        initial_vector(table, tokenizer, "nothing")


@pytest.mark.parametrize("rate", [0.0, 5e-4, 5e-3, 0.01, 0.5])
def test_pull_is_the_formula(rate: float) -> None:
    vectors = torch.randn(3, 7, dtype=torch.float64)
    first = [2.0, 0.5, 1.0]
    wanted = []
    for vector, n0 in zip(vectors.tolist(), first, strict=True):
        n = math.sqrt(sum(x * x for x in vector))
        lam = min(1, 100 * rate)
        wanted.append([x / n * (n + lam * (n0 - n)) for x in vector])
    pull_norm(vectors, torch.tensor(first, dtype=torch.float64), rate)
    torch.testing.assert_close(vectors, torch.tensor(wanted, dtype=torch.float64))
    if rate >= 0.01:
        torch.testing.assert_close(vectors.norm(dim=1), torch.tensor(first, dtype=torch.float64))


def test_pull_leaves_a_zero_vector_finite() -> None:
    vectors = torch.zeros(1, 4)
    pull_norm(vectors, torch.ones(1), 5e-4)
    assert torch.equal(vectors, torch.zeros(1, 4))
