"""The mask against drawn tables and a triple loop (METHOD 3)."""

import random

import pytest
import torch
from torch import Tensor

from textreg.method.identifier_mask import identifier_mask

# 1 sees, x removed by the mask, . future.
ONE_WORD_NOUN = """
         SOT   a krk1 cat  in the snow EOT
    SOT    1   .   .   .   .   .   .   .
    a      1   1   .   .   .   .   .   .
    krk1   x   x   1   .   .   .   .   .
    cat    1   1   1   1   .   .   .   .
    in     1   1   x   1   1   .   .   .
    the    1   1   x   1   1   1   .   .
    snow   1   1   x   1   1   1   1   .
    EOT    1   1   x   1   1   1   1   1
"""
TWO_WORD_NOUN_AT_THE_START = """
         SOT krk1  rc car  in   a tub EOT
    SOT    1   .   .   .   .   .   .   .
    krk1   x   1   .   .   .   .   .   .
    rc     1   1   1   .   .   .   .   .
    car    1   1   1   1   .   .   .   .
    in     1   x   1   1   1   .   .   .
    a      1   x   1   1   1   1   .   .
    tub    1   x   1   1   1   1   1   .
    EOT    1   x   1   1   1   1   1   1
"""
AT_THE_END = """
         SOT   a  in the our   a  my krk1
    SOT    1   .   .   .   .   .   .   .
    a      1   1   .   .   .   .   .   .
    in     1   1   1   .   .   .   .   .
    the    1   1   1   1   .   .   .   .
    our    1   1   1   1   1   .   .   .
    a      1   1   1   1   1   1   .   .
    my     1   1   1   1   1   1   1   .
    krk1   x   x   x   x   x   x   x   1
"""
TWICE = """
         SOT krk1 cat and krk1 cat on EOT
    SOT    1   .   .   .   .   .   .   .
    krk1   x   1   .   .   .   .   .   .
    cat    1   1   1   .   .   .   .   .
    and    1   x   1   1   .   .   .   .
    krk1   x   x   x   x   1   .   .   .
    cat    1   x   1   1   1   1   .   .
    on     1   x   1   1   x   1   1   .
    EOT    1   x   1   1   x   1   1   1
"""
TWO_VECTORS_TWICE = """
         SOT krk1 krk1 cat  in krk1 krk1 dog
    SOT    1   .   .   .   .   .   .   .
    krk1   x   1   .   .   .   .   .   .
    krk1   x   1   1   .   .   .   .   .
    cat    1   1   1   1   .   .   .   .
    in     1   x   x   1   1   .   .   .
    krk1   x   x   x   x   x   1   .   .
    krk1   x   x   x   x   x   1   1   .
    dog    1   x   x   1   1   1   1   1
"""
TABLES = [(ONE_WORD_NOUN, 1), (TWO_WORD_NOUN_AT_THE_START, 2), (AT_THE_END, 1), (TWICE, 1)]


def read(table: str) -> tuple[Tensor, list[list[str]]]:
    """Where the identifier is, and the cells."""
    words, *rows = (line.split() for line in table.strip().splitlines())
    return torch.tensor([[w == "krk1" for w in words]]), [row[1:] for row in rows]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("table", "noun_length"), TABLES)
def test_mask_is_the_drawn_table(table: str, noun_length: int, dtype: torch.dtype) -> None:
    where, cells = read(table)
    mask = identifier_mask(where, noun_length, torch.tensor([True]), dtype)
    wanted = [[0.0 if c == "1" else torch.finfo(dtype).min for c in row] for row in cells]
    assert mask.shape == (1, 1, 8, 8)
    assert mask.dtype == dtype
    assert torch.equal(mask[0, 0], torch.tensor(wanted, dtype=dtype))


def test_mask_of_several_vectors_is_the_drawn_table() -> None:
    where, cells = read(TWO_VECTORS_TWICE)
    mask = identifier_mask(where, 1, torch.tensor([True]), torch.float32, vectors=2)
    wanted = [[0.0 if c == "1" else torch.finfo(torch.float32).min for c in r] for r in cells]
    assert torch.equal(mask[0, 0], torch.tensor(wanted))


def test_six_cells_are_removed_from_the_causal_mask() -> None:
    where, _ = read(ONE_WORD_NOUN)
    masked = identifier_mask(where, 1, torch.tensor([True]), torch.float32)
    causal = identifier_mask(where, 1, torch.tensor([False]), torch.float32)
    assert int((causal == 0).sum()) == 8 * 9 // 2
    assert int((masked != causal).sum()) == 6


def seen_by_rule(i: int, j: int, identifiers: set[int], length: int, masked: bool) -> bool:
    """METHOD 3, word by word."""
    return (
        j <= i
        and not (masked and i in identifiers and j < i)
        and not (masked and j in identifiers and i > j + length)
    )


@pytest.mark.parametrize("seed", range(60))
def test_mask_is_the_triple_loop(seed: int) -> None:
    draw = random.Random(seed)
    batch, tokens = draw.randint(1, 5), draw.randint(1, 11)
    rows = [{j for j in range(tokens) if draw.random() < 0.2} for _ in range(batch)]
    lengths = [draw.randint(1, 3) for _ in range(batch)]
    masked = [draw.random() < 0.6 for _ in range(batch)]
    one_length = draw.random() < 0.5
    lengths = lengths[:1] * batch if one_length else lengths
    mask = identifier_mask(
        torch.tensor([[j in row for j in range(tokens)] for row in rows]),
        lengths[0] if one_length else torch.tensor(lengths),
        torch.tensor(masked),
        torch.float32,
    )
    for b in range(batch):
        for i in range(tokens):
            for j in range(tokens):
                seen = seen_by_rule(i, j, rows[b], lengths[b], masked[b])
                assert mask[b, 0, i, j].item() == (0 if seen else torch.finfo(torch.float32).min)


def test_rows_without_identifier_are_causal_even_when_masked() -> None:
    mask = identifier_mask(torch.zeros(1, 9).bool(), 1, torch.tensor([True]), torch.float32)
    assert torch.equal(mask[0, 0] == 0, torch.ones(9, 9).tril().bool())
