"""Fault 4 and 8: whichever system call of a checkpoint fails, the newest whole one is exact."""

import errno
import os
from pathlib import Path

import pytest
import torch

from textreg.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from textreg.errors import UserError


def _state(step: int) -> Checkpoint:
    return Checkpoint(stage=0, step=step, digest="d", tensors={"x": torch.full((3,), float(step))})


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize(
    ("owner", "call", "at", "published"),
    [(os, "fsync", 1, 1), (Path, "replace", 1, 1), (os, "open", 1, 2), (os, "fsync", 2, 2)],
)
def test_a_failed_call_leaves_an_exact_checkpoint(
    owner: object,
    call: str,
    at: int,
    published: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    save_checkpoint(tmp_path, _state(1))
    real, count = getattr(owner, call), 0

    def failing(*args: object, **keywords: object) -> object:
        nonlocal count
        count += 1
        if count == at:
            raise OSError(code, os.strerror(code))
        return real(*args, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(owner, call, failing)
        with pytest.raises(UserError, match=r"bytes needed"):
            save_checkpoint(tmp_path, _state(2))
    assert count == at
    found, damaged = newest_checkpoint(tmp_path)
    assert found is not None
    assert not damaged
    assert found.step == published
    assert torch.equal(found.tensors["x"], _state(published).tensors["x"])
    assert not list(tmp_path.glob(".*"))
