"""The processes that torchrun started for one run, and what they tell each other.

With at least as many concepts as ranks, each rank trains waves of its own and nothing is exchanged
in a step: randomness is a function of the concept. With fewer, all ranks train the same wave and
divide each step's samples. Rank 0 speaks to the user, holds the folder, and plans.

They talk through gloo in both cases: a connection ends with its process, so that whoever waits for
one that was killed knows at once. Imports no torch by itself.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from textreg.errors import GroupEnded, UserError

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST_WAIT = timedelta(days=30)
"""A rank that is done waits for the others, however long they train. A dead one is noticed by its
connection, not by this."""


@dataclass(kw_only=True)
class Ranks:
    """One process's view of its group; by default it is alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among those of this machine."""
    local_size: int = 1
    _plan: list[Any] = field(default_factory=list)

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def dividing_samples(self, concepts: int) -> Ranks:
        """Those that share one wave's samples: all if concepts are too few, else this one alone."""
        return self if concepts < self.size else ALONE

    def device(self, asked: str) -> str:
        """The device of this rank: "auto" and "cuda" give each its own GPU, where there are GPUs.

        Raises:
            UserError: there are fewer GPUs than ranks on this machine.
        """
        if asked not in ("auto", "cuda") or self.size == 1:
            return asked
        import torch

        if not torch.cuda.is_available():
            return "cpu" if asked == "auto" else asked
        if (gpus := torch.cuda.device_count()) < self.local_size:
            raise UserError(
                f"{self.local_size} processes on a machine with {gpus} GPU(s): start torchrun with "
                f"--nproc-per-node {gpus}, or name the device (--device cuda:0 or cpu)"
            )
        return f"cuda:{self.local_rank}"

    def plan(self, told: Any = None) -> Any:
        """What rank 0 tells the others, once: they do and say nothing before.

        So whatever refuses a run is said by one process.

        Args:
            told: by rank 0, JSON's types. None: there is nothing to do for the others.
        """
        if not self._plan:
            self._plan = self.gather(told)[:1]
        return self._plan[0]

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, by rank; returns when all have come here.

        Args:
            value: of JSON's types.

        Raises:
            GroupEnded: one of the processes is gone.
        """
        if self.size == 1:
            return [value]
        import torch

        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [int(n) for n in self._all_gather(torch.tensor([len(own)]))]
        padded = own.new_zeros(max(lengths))
        padded[: len(own)] = own
        texts = zip(self._all_gather(padded), lengths, strict=True)
        return [json.loads(bytes(text[:length].tolist())) for text, length in texts]

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The mean over ranks of each tensor, the same bits on every rank.

        Summed in float64 and in the order of ranks, whatever way the numbers took.

        Raises:
            GroupEnded: one of the processes is gone.
        """
        if self.size == 1:
            return list(tensors)
        import torch

        flat = torch.cat([t.detach().double().flatten().cpu() for t in tensors])
        total = torch.zeros_like(flat)
        for own in self._all_gather(flat):
            total += own
        parts = (total / self.size).split([t.numel() for t in tensors])
        return [part.view(t.shape).to(t) for part, t in zip(parts, tensors, strict=True)]

    def _all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Everybody's tensor, of one shape, on the CPU."""
        import torch
        import torch.distributed as dist

        found = [torch.empty_like(tensor) for _ in range(self.size)]
        try:
            if not dist.is_initialized():
                dist.init_process_group("gloo", timeout=_LONGEST_WAIT)
            dist.all_gather(found, tensor)
        except RuntimeError:  # a closed connection has no type of its own
            raise GroupEnded(
                "another process of this run has ended; the same command goes on"
            ) from None
        return found


ALONE = Ranks()


@functools.cache
def of_torchrun() -> Ranks:
    """This process's place in the group that torchrun started; alone if it did not."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, size, local_rank, local_size = (int(os.environ[name]) for name in names)
    return Ranks(rank=rank, size=size, local_rank=local_rank, local_size=local_size)
