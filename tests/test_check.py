"""`textreg check`: exit codes, the JSON object, and a report that can be piped."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from textreg.check import check


def fill(folder: Path, count: int = 4) -> Path:
    """Writes different good pictures 00.jpg, 01.jpg, ... and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (256, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.jpg", quality=30)
    return folder


def run(capsys, path: Path, as_json: bool = False) -> tuple[int, str, str]:
    """Returns exit code, stdout, stderr."""
    code = check(path, as_json)
    return (code, *capsys.readouterr())


def test_a_good_concept(tmp_path, capsys):
    code, out, err = run(capsys, fill(tmp_path / "backpack_dog"))
    assert (code, err) == (0, "")
    row = next(line for line in out.splitlines() if "backpack_dog" in line)
    assert [cell.strip() for cell in row.split("\u2502")[1:-1]] == [
        "backpack_dog",
        "backpack",
        "4",
        "300 x 256",
        "ok",
    ]
    assert out.endswith("1 of 1 concept usable, 4 pictures\n")


def test_the_folder_itself_by_a_relative_name(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(fill(tmp_path / "cat2"))
    code, out, _ = run(capsys, Path("."), as_json=True)
    (concept,) = json.loads(out)["concepts"]
    assert (code, concept["name"], concept["noun"]) == (0, "cat2", "cat")


def test_a_folder_of_concepts_with_one_bad(tmp_path, capsys):
    fill(tmp_path / "cat")
    fill(tmp_path / "IMG 77", 3)
    broken = fill(tmp_path / "dog") / "00.jpg"
    broken.write_bytes(broken.read_bytes()[:-20])
    (tmp_path / "empty").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "dog" / "09.txt").write_text("a caption")
    code, out, err = run(capsys, tmp_path)
    assert (code, err) == (2, "")
    lines = out.splitlines()
    assert "error   dog/00.jpg: the file is cut short; copy or download it again" in lines, (
        "errors name concept and file"
    )
    assert "skipped dog/09.txt: caption or metadata, not used" in lines
    assert any(line.startswith("error   empty: no pictures") for line in lines)
    assert any(line.startswith("warning IMG 77: 3 usable pictures") for line in lines)
    assert any("IMG 77" in line and "? (give --noun)" in line for line in lines)
    assert ".cache" not in out
    assert lines[-1] == "2 of 4 concepts usable, 10 pictures"


def test_the_json_object_is_the_documented_one(tmp_path, capsys):
    fill(tmp_path / "cat", 2)
    (tmp_path / "cat" / "a.txt").write_text("x")
    (tmp_path / "cat" / "b.png").write_bytes(b"")
    code, out, err = run(capsys, tmp_path, as_json=True)
    assert (code, err) == (2, "")
    report = json.loads(out)
    assert list(report) == ["path", "ok", "error", "concepts"]
    assert (report["path"], report["ok"], report["error"]) == (str(tmp_path), False, None)
    (concept,) = report["concepts"]
    assert concept["path"] == str(tmp_path / "cat")
    pictures = concept.pop("pictures")
    assert [list(picture) for picture in pictures] == [
        ["file", "width", "height", "sha256", "prompts", "mask", "repeats"]
    ] * 2
    assert [picture["file"] for picture in pictures] == ["00.jpg", "01.jpg"]
    assert all(len(picture["sha256"]) == 64 for picture in pictures)
    assert concept == {
        "name": "cat",
        "path": str(tmp_path / "cat"),
        "noun": "cat",
        "usable": False,
        "skipped": [{"name": "a.txt", "reason": "caption or metadata, not used"}],
        "errors": ["b.png: the file is empty; copy or download it again"],
        "warnings": ["cat: 2 usable pictures; 4 to 6 teach a concept better"],
    }


@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_to_check_is_one_line_on_stderr(tmp_path, capsys, as_json):
    empty = tmp_path / "empty"
    empty.mkdir()
    shelf = tmp_path / "shelf"
    for name in ("a", "b"):
        (shelf / name).mkdir(parents=True)
    fill(tmp_path / "deep/data/cat")
    (tmp_path / "deep/styles").mkdir()
    phone = tmp_path / "phone"
    phone.mkdir()
    (phone / "1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(60))
    file = tmp_path / "file.jpg"
    file.write_bytes(b"x")
    cases = {
        tmp_path / "nowhere": "No such file or directory",
        file: "Not a directory",
        empty: "no pictures",
        shelf: "no pictures in it or in its 2 folders",
        tmp_path / "deep": f"but in {tmp_path / 'deep/data'}; check that one",
        phone: "heif-convert",
    }
    for path, expected in cases.items():
        code, out, err = run(capsys, path, as_json)
        assert code == 2
        assert err.count("\n") == 1
        assert err.startswith(f"{path}: ")
        assert expected in err
        if as_json:
            report = json.loads(out)
            assert (report["ok"], report["error"], report["concepts"]) == (False, err[:-1], [])
        else:
            assert out == ""


def test_an_unreadable_folder(tmp_path, capsys, monkeypatch):
    def refuse(_: Path):  # file modes do not stop root, so the test does
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    code, _, err = run(capsys, tmp_path)
    assert code == 2
    assert "Permission denied" in err


def test_hostile_and_long_names_stay_whole_and_harmless(tmp_path, capsys):
    folder = fill(tmp_path / "[red]a\x1b[2Jb\nc[red]")
    long_name = "long " * 30 + "name.jpg"
    for name in (long_name, "[bold]x.png", "new\nline.png", "-rf.png"):
        (folder / name).write_bytes(b"")
    code, out, _ = run(capsys, tmp_path)
    assert code == 2
    assert "\x1b" not in out
    shown = "[red]a\\x1b[2Jb\\nc[red]"
    errors = [line for line in out.splitlines() if line.startswith("error")]
    assert [line.partition(": ")[0] for line in errors] == [
        f"error   {shown}/-rf.png",
        f"error   {shown}/[bold]x.png",
        f"error   {shown}/{long_name}",
        f"error   {shown}/new\\nline.png",
    ]
    assert any(shown in line and "not usable" in line for line in out.splitlines())


def test_a_wide_table_is_not_folded_in_a_pipe(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name = "a very long name of a concept that nobody would ever type " * 2 + "end"
    fill(tmp_path / name)
    _, out, _ = run(capsys, tmp_path)
    assert name in out


def test_an_output_that_cannot_print_emoji_gets_escapes(tmp_path, monkeypatch):
    folder = fill(tmp_path / "cat")
    (folder / "\U0001f431.png").write_bytes(b"")
    target = tmp_path / "out.txt"
    with target.open("w", encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert check(folder, as_json=False) == 2
    assert "cat/\\U0001f431.png: the file is empty" in target.read_text("ascii")


def test_what_lies_beside_the_pictures_is_listed(tmp_path, capsys):
    folder = fill(tmp_path / "img" / "10_krk1 dog")
    (folder / "00.txt").write_text("krk1 on the beach\na dog at home")
    (folder / "01.txt").write_text("grass")
    Image.new("L", (300, 256), 255).save(folder / "02-masklabel.png")
    for path, prefix in ((tmp_path / "img", "img/10_krk1 dog/"), (folder, "10_krk1 dog/")):
        code, out, _ = run(capsys, path)
        assert code == 0
        lines = [line for line in out.splitlines() if line.startswith("beside")]
        repeats = "10 repeats, " if path != folder else ""
        assert lines[:2] == [
            f'beside  {prefix}00.jpg: {repeats}"[trigger] on the beach", "a [trigger] at home"',
            f'beside  {prefix}01.jpg: {repeats}"[trigger], grass"',
        ]
        assert "mask 02-masklabel.png" in lines[2]
        assert "1 of 1 concept usable, 4 pictures" in out
        (concept,) = json.loads(run(capsys, path, as_json=True)[1])["concepts"]
        assert concept["noun"] == "dog"
        assert concept["pictures"][0]["prompts"] == [
            "[trigger] on the beach",
            "a [trigger] at home",
        ]
        assert [p["mask"] for p in concept["pictures"]] == [None, None, "02-masklabel.png", None]
