"""The command begins anew in large pages: once, and only where that does something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from textreg import cli, large_pages
from textreg.ranks import Ranks

MADVISE = "always [madvise] never\n"


class RestartedError(Exception):
    """What the replaced exec raises, which never returns either."""


@pytest.fixture
def restarts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, list[str], str]]:
    """What was started in this process's place; on a system that gives large pages if asked."""
    found: list[tuple[str, list[str], str]] = []

    def execve(program: str, words: list[str], environment: dict[str, str]) -> None:
        found.append((program, words, environment["GLIBC_TUNABLES"]))
        raise RestartedError

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "textreg", "train", "cat"])
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    monkeypatch.setattr(sys, "getprofile", lambda: None)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    given_to = tmp_path / "enabled"
    given_to.write_text(MADVISE)
    monkeypatch.setattr(large_pages, "GIVEN_TO", given_to)
    return found


def test_the_same_words_are_started_with_the_setting(
    restarts: list[tuple[str, list[str], str]],
) -> None:
    with pytest.raises(RestartedError):
        large_pages.restart_in_large_pages()
    words = ["python", "-m", "textreg", "train", "cat"]
    assert restarts == [(sys.executable, words, "glibc.malloc.hugetlb=1")]


@pytest.mark.parametrize("own", ["", "glibc.malloc.hugetlb=1", "glibc.malloc.arena_max=1"])
def test_a_setting_that_is_there_stays(
    monkeypatch: pytest.MonkeyPatch, restarts: list[tuple[str, list[str], str]], own: str
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", own)
    large_pages.restart_in_large_pages()
    assert restarts == []
    assert os.environ["GLIBC_TUNABLES"] == own


def test_under_a_debugger_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch, restarts: list[tuple[str, list[str], str]]
) -> None:
    for watching in ("gettrace", "getprofile"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, watching, lambda: print)
            large_pages.restart_in_large_pages()
    assert restarts == []


def test_where_no_program_can_be_started_this_one_goes_on(
    monkeypatch: pytest.MonkeyPatch, restarts: list[tuple[str, list[str], str]]
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "execve", refused)
    large_pages.restart_in_large_pages()
    assert restarts == []
    assert "GLIBC_TUNABLES" not in os.environ


@pytest.mark.parametrize("given", ["[always] madvise never\n", "always madvise [never]\n", None])
def test_where_asking_changes_nothing_nothing_is_started(
    restarts: list[tuple[str, list[str], str]], given: str | None
) -> None:
    if given is None:
        large_pages.GIVEN_TO.unlink()
    else:
        large_pages.GIVEN_TO.write_text(given)
    large_pages.restart_in_large_pages()
    assert restarts == []


@pytest.mark.parametrize(
    ("words", "alone", "anew"),
    [
        (["train", "nowhere"], True, True),
        (["train", "nowhere"], False, False),
        (["check", "nowhere"], True, False),
        (["train", "--help"], True, False),
        (["--version"], True, False),
        ([], True, False),
    ],
)
def test_only_long_work_of_one_process_is_started_anew(
    monkeypatch: pytest.MonkeyPatch,
    restarts: list[tuple[str, list[str], str]],
    words: list[str],
    alone: bool,
    anew: bool,
) -> None:
    monkeypatch.setattr(sys, "argv", ["textreg", *words])
    monkeypatch.setattr(cli, "main", lambda: 7)
    if not alone:
        monkeypatch.setattr(cli, "of_torchrun", lambda: Ranks(rank=0, size=2))
    if anew:
        with pytest.raises(RestartedError):
            cli.command()
    else:
        assert cli.command() == 7
    assert len(restarts) == anew


def test_a_command_says_the_same_either_way(tmp_path: Path) -> None:
    """As a whole process: it does not start itself for ever, and its exit code comes back."""
    words = [sys.executable, "-m", "textreg", "train", str(tmp_path / "nowhere")]
    without = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    done = [
        subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        for environment in (without, {**without, "GLIBC_TUNABLES": ""})
    ]
    assert [one.returncode for one in done] == [2, 2]
    assert done[0].stderr == done[1].stderr
    assert "nowhere" in done[0].stderr
