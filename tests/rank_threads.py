"""Ranks as threads of one process: everything but the wire between them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from textreg.errors import GroupEnded
from textreg.ranks import Ranks

Result = TypeVar("Result")


class _Group:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.given: list[dict[int, Tensor]] = []
        """By the number of the exchange, then by rank."""
        self.gone: set[int] = set()


@dataclass(kw_only=True)
class ThreadRanks(Ranks):
    group: _Group
    turn: int = 0

    def _all_gather(self, tensor: Tensor) -> list[Tensor]:
        with self.group.changed:
            if self.turn == len(self.group.given):
                self.group.given.append({})
            given = self.group.given[self.turn]
            given[self.rank] = tensor.clone()
            self.turn += 1
            self.group.changed.notify_all()
            self.group.changed.wait_for(
                lambda: len(given) == self.size or bool(self.group.gone - given.keys()), timeout=100
            )
            if len(given) < self.size:
                raise GroupEnded("a rank is gone")
            return [given[rank].clone() for rank in range(self.size)]


def on_ranks(size: int, work: Callable[[Ranks], Result]) -> list[Result | BaseException]:
    """What each rank returned, or raised; the end of one ends the waits of the others."""
    group = _Group()

    def one(rank: int) -> Result | BaseException:
        try:
            return work(ThreadRanks(rank=rank, size=size, local_size=size, group=group))
        except BaseException as error:
            with group.changed:
                group.gone.add(rank)
                group.changed.notify_all()
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))
