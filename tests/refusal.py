"""What a command that cannot do what it was asked leaves: one line and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest


def refusal(
    command: Callable[[], int],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """The line in which it refuses, with exit code 2; no base was loaded, no file made or gone."""

    def load(*given: object) -> None:
        raise AssertionError("a base is loaded before the input is refused")

    monkeypatch.setattr("textreg.base_files.BaseFiles.load", load)
    before = set(folder.rglob("*"))
    try:
        code = command()
    except SystemExit as stopped:
        code = stopped.code
    line = capsys.readouterr().err
    assert code == 2
    assert line.count("\n") == 1
    assert set(folder.rglob("*")) == before
    return line
