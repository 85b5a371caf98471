"""Written files opened again by each program's own rules, and compared with what was trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from textreg.adapter import Adapter
from textreg.adapter.consumers import Consumer, Refused, open_lora, open_word
from textreg.adapter.legacy_file import module_order, named
from textreg.adapter.reading import Told, read
from textreg.adapter.tensor_file import read_tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class Reopened:
    """One file as one program sees it."""

    file: str
    """Path within the export's folder."""
    opened_by: str
    """Program and the version that its rules were read in."""
    difference: float | None
    """Largest difference of an entry, as a share of the largest entry; none: it cannot open it."""
    type_there: str
    """What to type there; or why it cannot open the file."""


def lora_difference(consumer: Consumer, path: Path, adapter: Adapter) -> float:
    """How far the edits s B A that a program takes from a file are from the trained ones.

    Raises:
        Refused: it does not take the file.
    """
    tensors, _ = read_tensors(path)
    opened = open_lora(consumer, tensors, adapter.factors)
    return largest_difference(adapter, opened)


def legacy_difference(path: Path, adapter: Adapter) -> float:
    """The same for the original's file, whose projections are numbered."""
    again, _ = read(path, Told())
    pairs = named(again, module_order(adapter.factors))
    return largest_difference(adapter, {name: (*pair, 1.0) for name, pair in pairs.items()})


def word_difference(consumer: Consumer, path: Path, adapter: Adapter, word: str) -> float:
    """How far the vector that a program takes from a file is from the trained one.

    Raises:
        Refused: it does not take the file, or takes it for another word.
    """
    tensors, _ = read_tensors(path)
    found, vector = open_word(consumer, tensors, path.stem)
    if found not in ("", word):
        raise Refused(f"it takes the word for {found!r}")
    return _share([(vector.flatten().double(), adapter.vector.double())])


def largest_difference(adapter: Adapter, opened: dict[str, tuple[Tensor, Tensor, float]]) -> float:
    """Largest |s B A - trained| over all entries of all projections, by the largest |trained|."""
    scale = adapter.alpha / adapter.rank
    return _share(
        [
            (s * (up.double() @ down.double()), scale * (b.double() @ a.double()))
            for name, (a, b) in adapter.factors.items()
            for down, up, s in [opened[name]]
        ]
    )


def _share(pairs: list[tuple[Tensor, Tensor]]) -> float:
    largest = max(float(trained.abs().max()) for _, trained in pairs)
    difference = max(float((found - trained).abs().max()) for found, trained in pairs)
    return difference / largest if largest else difference
