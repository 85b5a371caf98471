"""Faults 5 and 6 on a file system of its own: read-only as a whole, in part, and full."""

import subprocess
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from textreg import cli, encoded_views, trainer
from textreg.backbone import Backbone
from textreg.config import Run
from textreg.errors import UserError
from textreg.learning import learn
from tiny_run import results, tiny_run

pytestmark = pytest.mark.slow


def command(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Path]:
    """Of 1 MiB; only root may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place)
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr.decode() if isinstance(error, subprocess.CalledProcessError) else error
        pytest.skip(f"this user cannot mount a file system: {said}")
    yield place
    command("umount", "--recursive", place)


@pytest.fixture
def runs(
    disk: Path, tiny_base: Path, cat_pictures: Path, tmp_path: Path, backbone: Backbone
) -> tuple[Run, Run]:
    """One on the disk, not begun, and the same one elsewhere, finished."""
    here, straight = (
        tiny_run(tiny_base, folder, cat_pictures, save_steps=2, card_pictures=0)
        for folder in (disk / "run", tmp_path / "straight")
    )
    learn(straight, backbone=backbone)
    return here, straight


def test_a_read_only_disk_is_refused_before_the_base_is_loaded(
    disk: Path,
    tiny_base: Path,
    cat_pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command("mount", "-o", "remount,ro", disk)
    monkeypatch.setattr(trainer, "load", pytest.fail)
    given = ["train", str(cat_pictures), "--base", str(tiny_base), "--resolution", "16"]
    assert cli.main([*given, "--out", str(disk / "run")]) == 2
    refusal = f"textreg: --out {disk / 'run'}: cannot be written (Read-only file system)"
    assert refusal in capsys.readouterr().err
    drawing = ["sample", "--base", str(tiny_base), "--prompt", "a cat", "--out", str(disk / "new")]
    assert cli.main(drawing) == 2
    assert "(Read-only file system)" in capsys.readouterr().err
    assert list(disk.iterdir()) == []


def test_a_run_that_becomes_read_only_keeps_what_it_has(
    runs: tuple[Run, Run], backbone: Backbone
) -> None:
    """From step 3 on; what is open stays writable on a real one too. Then it goes on exactly."""
    run, straight = runs
    checkpoints = run.out / "checkpoints"

    def on_step(record: Any) -> None:
        if record.global_step == 3:
            command("mount", "--bind", checkpoints, checkpoints)
            command("mount", "-o", "remount,ro,bind", checkpoints)

    with pytest.raises(UserError, match=r"checkpoints/1-.*\(Read-only file system\), [\d,]+ bytes"):
        learn(run, backbone=backbone, on_step=on_step)
    assert [path.stem for path in checkpoints.iterdir()] == ["0-0000002"]
    command("umount", checkpoints)
    learn(run, backbone=backbone)
    assert results(run.out) == results(straight.out)


@pytest.mark.parametrize("seconds", [encoded_views.SECONDS, 0.0])
def test_a_full_disk_is_told_with_the_bytes_and_goes_on_when_there_is_room(
    disk: Path,
    runs: tuple[Run, Run],
    backbone: Backbone,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
) -> None:
    """Also where each view has its file."""
    monkeypatch.setattr(encoded_views, "SECONDS", seconds)
    run, straight = runs

    def on_step(record: Any) -> None:
        if record.global_step == 3:
            with (disk / "others").open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(1 << 12))

    refusal = r"run/.*: cannot be written \(No space left on device\), [\d,]+ bytes needed"
    with pytest.raises(UserError, match=refusal):
        learn(run, backbone=backbone, on_step=on_step)
    (disk / "others").unlink()
    learn(run, backbone=backbone)
    assert results(run.out) == results(straight.out)
    assert not list(run.out.rglob(".*.partial"))
