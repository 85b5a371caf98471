"""Fault 40: a dependency out of range is one line with versions, before it is imported."""

from collections.abc import Iterator
from importlib import metadata

import pytest

from textreg import cli
from textreg.dependencies import check_versions
from textreg.errors import UserError


@pytest.fixture(autouse=True)
def checked_anew() -> Iterator[None]:
    check_versions.cache_clear()
    yield
    check_versions.cache_clear()


def test_what_is_installed_is_in_range() -> None:
    check_versions()


@pytest.mark.parametrize(("version", "why"), [("2.9.1", "torch is 2.9.1"), ("3.0", "torch is 3.0")])
def test_out_of_range_is_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], version: str, why: str
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch<3,>=2.10", "x; extra == 'dev'"])
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert cli.main(["check", "missing"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"textreg: {why}, needed is <3,>=2.10")
    assert said.count("\n") == 1


def test_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["no-such-package>=1"])
    with pytest.raises(UserError, match="no-such-package is missing, needed is >=1"):
        check_versions()
