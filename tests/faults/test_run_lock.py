"""Fault 7: two runs, one folder; a killed holder, a stale record, another machine, a clock jump."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from textreg import run_lock
from textreg.errors import UserError
from textreg.run_lock import locked

HOLD = """
import sys
from pathlib import Path
from textreg.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def record(folder: Path, **changes: object) -> None:
    own = {"process": 7, "host": socket.gethostname(), "since": time.time() - 7205}
    (folder / ".lock").write_text(json.dumps(own | changes))


def test_the_second_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        who = rf"in use by process {process.pid} on {socket.gethostname()}, for \d+ seconds?; wait"
        with pytest.raises(UserError, match=who), locked(tmp_path):
            pass
        with pytest.raises(UserError, match=who), locked(tmp_path, take_over=True):
            pass
        process.communicate("")
    assert (tmp_path / ".lock").read_text() == "", "it left in peace"
    with locked(tmp_path):
        pass


def test_a_killed_holder_is_in_nobodys_way(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    assert json.loads((tmp_path / ".lock").read_text())["process"] == process.pid
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()


@pytest.mark.parametrize(
    "stale", [b"", b"process 1\n", b'{"process": 1', b"\xff" * 9000, b"[" * 4000, b"[1]", b"null"]
)
def test_a_stale_or_damaged_record_is_in_nobodys_way(tmp_path: Path, stale: bytes) -> None:
    (tmp_path / ".lock").write_bytes(stale)
    with locked(tmp_path):
        pass


def test_a_record_of_another_machine_needs_take_over(tmp_path: Path) -> None:
    record(tmp_path, host="elsewhere")
    before = (tmp_path / ".lock").read_bytes()
    refusal = "in use by process 7 on elsewhere, for 2 hours, another machine; .*--take-over"
    for _ in range(2):
        with pytest.raises(UserError, match=refusal), locked(tmp_path):
            pass
        assert (tmp_path / ".lock").read_bytes() == before
    with locked(tmp_path, take_over=True):
        pass
    with locked(tmp_path):
        pass


def test_a_record_of_another_machine_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    record(tmp_path, host="a\x1b[2J\nb")
    with pytest.raises(UserError) as refusal, locked(tmp_path):
        pass
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("since", [1e18, -1e300, 0, float("nan"), float("inf")])
def test_a_clock_that_jumped_is_no_reason(tmp_path: Path, since: float) -> None:
    record(tmp_path, since=since)
    with locked(tmp_path):
        pass
    record(tmp_path, since=since, host="elsewhere")
    with pytest.raises(UserError, match="in use by process 7 on elsewhere"), locked(tmp_path):
        pass


def test_a_failed_run_leaves_no_record(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    assert (tmp_path / ".lock").read_text() == ""


def test_a_link_or_a_pipe_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("years of work")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="cannot be written"), locked(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "years of work"
    (tmp_path / ".lock").unlink()
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(UserError, match="is not a plain file"), locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("owner", "call", "match"),
    [
        (fcntl, "flock", "cannot be locked"),
        (os, "ftruncate", "cannot be written"),
        (os, "pwrite", "cannot be written"),
    ],
)
def test_a_record_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, call: str, match: str
) -> None:
    code = 37 if call == "flock" else 28

    def fail(*given: object) -> None:
        raise OSError(code, os.strerror(code))

    assert run_lock.fcntl is fcntl
    monkeypatch.setattr(owner, call, fail)
    with pytest.raises(UserError, match=match), locked(tmp_path):
        pass


def test_a_read_only_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", fail)
    refusal = rf"--out {tmp_path}: cannot be written \(Read-only file system\)"
    with pytest.raises(UserError, match=refusal), locked(tmp_path):
        pass
