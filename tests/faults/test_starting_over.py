"""Fault 10: --force-new puts what is in the folder aside, whole, and begins."""

import sys
from pathlib import Path

import pytest

from textreg import starting_over
from textreg.cli import main
from textreg.commands.train import resume_command
from textreg.errors import UserError
from textreg.run_lock import locked
from textreg.starting_over import put_aside

pytestmark = pytest.mark.thorough


def words(base: Path, out: Path, *pictures: Path) -> list[str]:
    given = ["train", *map(str, pictures), "--base", str(base), "--out", str(out), "--rank", "2"]
    return [*given, "--noun", "cat", "--resolution", "16", "--inversion-steps", "1"]


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_another_run_begins_and_the_first_is_still_there(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    given = [*words(tiny_base, out, cat_pictures), "--tuning-steps", "1"]
    assert main([*given, "--force-new"]) == 0, "nothing is there: nothing to put aside"
    first = content(out)
    assert main([*given, "--seed", "7"]) == 2
    assert "give train --force-new to put it aside" in capsys.readouterr().err
    for number in (1, 2):
        assert main([*given, "--seed", "7", "--force-new"]) == 0
        said = capsys.readouterr().err
        assert f"textreg: the run that was in {out} is in {out}.{number} now" in said
    assert content(Path(f"{out}.1")) == first
    assert (out / "learned_embeds.safetensors").read_bytes() != first["learned_embeds.safetensors"]
    assert content(out).keys() == content(Path(f"{out}.2")).keys() == first.keys()


def test_what_cannot_begin_puts_nothing_aside(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "run.yaml").write_text("")
    given = words(tiny_base, out, tmp_path / "no-pictures")
    assert main([*given, "--force-new"]) == 2
    with pytest.raises(SystemExit) as end:
        main([*words(tiny_base, out, cat_pictures), "--force-new", "--resume"])
    assert end.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_only_a_run_is_put_aside_and_none_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert put_aside(tmp_path / "missing") is None
    run = tmp_path / "run"
    run.mkdir()
    assert put_aside(run) is None
    (run / "run.yaml").write_text("")
    (run / "inside").mkdir()
    with locked(run), pytest.raises(UserError, match="in use by process"):
        put_aside(run)
    monkeypatch.chdir(run / "inside")
    with pytest.raises(UserError, match="is where you are"):
        put_aside(run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.1").symlink_to("nowhere")
    assert put_aside(Path("run")) == Path("run.2")
    assert (tmp_path / "run.2" / ".lock").read_text() == "", "nobody is on record there"


def test_a_folder_that_cannot_be_renamed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.yaml").write_text("")

    def busy(*given: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(starting_over.Path, "rename", busy)
    with pytest.raises(UserError, match=r"cannot be renamed to .* \(Device or resource busy\)"):
        put_aside(tmp_path)


def test_the_command_to_go_on_does_not_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/textreg", "train", "my cat", "--force-new"])
    assert resume_command() == "textreg train 'my cat'"
