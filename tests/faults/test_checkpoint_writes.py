"""Faults 4, 5, 8: whichever system call of a write fails or is the last, what is there is whole."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from textreg.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    publish,
    remove_partials,
    save_checkpoint,
)
from textreg.encoded_views import SECONDS, EncodedViews
from textreg.errors import UserError

CALLS: tuple[tuple[Any, str], ...] = (
    (os, "open"),
    (os, "write"),
    (os, "fsync"),
    (os, "close"),
    (Path, "mkdir"),
    (Path, "replace"),
    (Path, "unlink"),
)
"""What `publish` asks of the system; its own functions, so that nothing else is struck."""


class Killed(BaseException):
    """The process ends here: nothing that would catch an error runs for it."""


def _state(step: int) -> Checkpoint:
    return Checkpoint(stage=0, step=step, digest="d", tensors={"x": torch.full((3,), float(step))})


def strike(patch: pytest.MonkeyPatch, at: int, how: Callable[[], BaseException]) -> list[str]:
    """Let the at-th call fail, a write after half of its bytes; returns the calls made."""
    made: list[str] = []

    def wrap(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            made.append(name)
            if len(made) == at:
                if name == "write":
                    real(args[0], args[1][: len(args[1]) // 2])
                raise how()
            return real(*args, **keywords)

        return call

    for owner, name in CALLS:
        patch.setattr(owner, name, wrap(getattr(owner, name), name))
    return made


def _error(code: int) -> Callable[[], BaseException]:
    return lambda: OSError(code, os.strerror(code))


FAULTS = {
    "EIO": _error(errno.EIO),
    "ENOSPC": _error(errno.ENOSPC),
    "EROFS": _error(errno.EROFS),
    "EINTR": _error(errno.EINTR),
    "killed": Killed,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_of_a_checkpoint(
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Three are there or being made; the newest whole one is the second or the third."""
    struck: set[str] = set()
    for at in range(1, 100):
        folder = tmp_path / str(at)
        for step in (1, 2):
            save_checkpoint(folder, _state(step))
        said = ""
        with monkeypatch.context() as patch:
            made = strike(patch, at, FAULTS[fault])
            try:
                save_checkpoint(folder, _state(3))
            except UserError as error:
                said = str(error)
            except Killed:
                pass
        assert "\n" not in said
        assert str(folder) in said or len(made) < at or fault == "killed" or made[-1] == "unlink"
        if len(made) < at:
            break
        struck.add(made[at - 1])
        renamed = "replace" in made[: at - 1]
        found, damaged = newest_checkpoint(folder)
        assert found is not None
        assert not damaged
        assert found.step == (3 if renamed else 2)
        assert torch.equal(found.tensors["x"], _state(found.step).tensors["x"])
        assert not list(folder.glob(".*")), "the next start leaves no rest"
        save_checkpoint(folder, _state(3))
        assert len(list(folder.iterdir())) == 2
    assert struck == {name for _, name in CALLS}
    record_property("faults", at - 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_of_any_file(
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """The old content or the new, never a third."""
    path = tmp_path / "run" / "file"
    for at in range(1, 100):
        publish(path, b"old")
        with monkeypatch.context() as patch:
            made = strike(patch, at, FAULTS[fault])
            try:
                publish(path, b"new content")
            except (UserError, Killed):
                assert path.read_bytes() in (b"old", b"new content")
        if len(made) < at:
            break
        assert (path.read_bytes() == b"new content") is ("replace" in made[: at - 1])
    assert at > 7
    record_property("faults", at - 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_of_a_file_of_views(
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """The view is there whole or not at all, the one before it in any case, and it can be added."""
    views = [torch.full((2, 1, 1), float(n)) for n in range(2)]
    for at in range(1, 100):
        folder = tmp_path / str(at)
        EncodedViews(folder, {}).keep("0", views[0], SECONDS)
        writer, said = EncodedViews(folder, {}), str(folder)
        with monkeypatch.context() as patch:
            made = strike(patch, at, FAULTS[fault])
            try:
                writer.keep("1", views[1], SECONDS)
            except UserError as error:
                said = str(error)
            except Killed:
                pass
        assert said.isprintable()
        assert str(folder) in said
        if len(made) < at:
            break
        remove_partials(folder)
        assert not list(folder.glob(".*"))
        again = EncodedViews(folder, {})
        found = [again.read(str(n), (2, 1, 1), torch.float32) for n in range(2)]
        assert [f is not None for f in found] == [True, "replace" in made[: at - 1]]
        assert all(f is None or torch.equal(f, v) for f, v in zip(found, views, strict=True))
        again.keep("1", views[1], SECONDS)
        assert len(list(folder.iterdir())) == 2
    assert at > 7
    record_property("faults", at - 1)


def test_a_full_disk_names_the_path_and_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike(monkeypatch, 4, FAULTS["ENOSPC"])
    with pytest.raises(
        UserError, match=rf"{tmp_path}/file: cannot be written \(No space left.*\), 5,000 bytes"
    ):
        publish(tmp_path / "file", bytes(5000))


def test_a_folder_that_cannot_be_flushed_is_no_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, code = os.fsync, errno.EIO

    def fsync(file: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(code, os.strerror(code))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match="is written, but its folder cannot be flushed"):
        publish(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    code = errno.EINVAL
    publish(tmp_path / "file", b"on a network's file system")


def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        publish(tmp_path / "run" / "file", b"x")


def test_a_link_in_the_place_of_the_partial_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("years of work")
    (tmp_path / ".file.partial").symlink_to(tmp_path / "precious")
    publish(tmp_path / "file", b"x")
    (tmp_path / "linked").symlink_to(tmp_path / "precious")
    publish(tmp_path / "linked", b"x")
    assert (tmp_path / "precious").read_text() == "years of work"


def test_a_pipe_among_the_checkpoints_is_passed_over(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _state(1))
    os.mkfifo(tmp_path / "0-0000002.safetensors")
    (tmp_path / ".0-0000003.safetensors.partial").mkdir()
    found, damaged = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1
    assert len(damaged) == 1
