"""Views are encoded once a run, however often it is stopped; what is not whole is made again."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from textreg import encoded_views
from textreg.backbone import Backbone
from textreg.checkpoint import remove_partials
from textreg.config import ClassImages, Images, Run
from textreg.encoded_views import EncodedViews
from textreg.errors import UserError
from textreg.trainer import trainings
from tiny_run import results, tiny_run, train, train_some

pytestmark = pytest.mark.thorough

ENCODER = {"base": "b1", "device": "cpu"}
SHAPE = (2, 1, 3)


def view(number: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(number))


def read(views: EncodedViews, number: int) -> Tensor | None:
    return views.read(f"key{number}", SHAPE, torch.float32)


def written(folder: Path, *numbers: int) -> Path:
    """The one file of some views."""
    views = EncodedViews(folder, ENCODER)
    for number in numbers[:-1]:
        views.keep(f"key{number}", view(number), 0)
    assert not folder.exists() or not list(folder.iterdir())
    views.keep(f"key{numbers[-1]}", view(numbers[-1]), encoded_views.SECONDS)
    (path,) = folder.iterdir()
    return path


def test_a_file_is_written_when_its_views_took_long_enough(tmp_path: Path) -> None:
    written(tmp_path / "views", 1, 2, 3)
    again = EncodedViews(tmp_path / "views", ENCODER)
    for number in (1, 2, 3):
        found = read(again, number)
        assert found is not None
        assert torch.equal(found, view(number))
    assert read(again, 4) is None
    again.discard()
    assert list(tmp_path.iterdir()) == []


def test_who_only_reads_adds_and_deletes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, 1)
    reader = EncodedViews(tmp_path, ENCODER, writer=None)
    found = read(reader, 1)
    assert found is not None
    assert torch.equal(found, view(1))
    reader.keep("key2", view(2), 1000)
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(path.read_bytes()[:-1])
    assert read(reader, 1) is None
    assert read(EncodedViews(tmp_path, ENCODER, writer=None), 1) is None
    assert list(tmp_path.iterdir()) == [path]
    assert capsys.readouterr().err == ""


def test_of_another_encoder_is_out_of_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, 1)
    assert read(EncodedViews(tmp_path, ENCODER | {"base": "b2"}), 1) is None
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


@pytest.mark.thorough
def test_every_flipped_bit_is_found_or_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, 1, 2)
    data = path.read_bytes()
    told = 0
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 1 << (position % 8)
        path.write_bytes(broken)
        views = EncodedViews(tmp_path, ENCODER)
        for number in (1, 2):
            found = read(views, number)
            assert found is None or torch.equal(found, view(number)), position
        said = capsys.readouterr().err
        assert said.count("\n") <= 1
        assert path.exists() is (read(views, 1) is not None and read(views, 2) is not None)
        told += said.startswith(f"textreg: {path}: damaged (")
    assert told > len(data) / 2


WRONG: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"\x1b[2J" * 9),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "dead link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_file_of_views_is_told_and_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    path = written(tmp_path, 1)
    WRONG[what](path)
    assert read(EncodedViews(tmp_path, ENCODER), 1) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"textreg: {path}: damaged (")
    assert line.isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("forged", [view(1)[:1], view(1).double(), view(1).long(), view(1).sum()])
def test_a_sound_file_of_something_else_is_no_view(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], forged: Tensor
) -> None:
    EncodedViews(tmp_path, ENCODER).keep("key1", forged, 1000)
    assert read(EncodedViews(tmp_path, ENCODER), 1) is None
    assert "damaged (a view is" in capsys.readouterr().err


@pytest.fixture
def each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every view has a file at once, however fast it was encoded."""
    monkeypatch.setattr(encoded_views, "SECONDS", 0.0)


@pytest.fixture
def seen(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every view that the VAE was given."""
    found: list[bytes] = []
    encode = backbone.vae.encode

    def watched(pictures: Tensor) -> Any:
        found.append(pictures.numpy().tobytes())
        return encode(pictures)

    monkeypatch.setattr(backbone.vae, "encode", watched)
    return found


@pytest.fixture
def run(tiny_base: Path, tmp_path: Path, cat_pictures: Path, dog_pictures: Path) -> Run:
    return tiny_run(tiny_base, tmp_path / "run", cat_pictures, dog_pictures, save_steps=2)


@pytest.fixture(scope="module")
def straight(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What the run leaves that was never stopped and wrote no view."""
    out = tmp_path_factory.mktemp("straight") / "run"
    going = trainings(tiny_run(tiny_base, out, cat_pictures, dog_pictures, save_steps=2), backbone)
    for _ in going:
        assert not (out / "checkpoints" / "views").exists(), "encoded fast, and so not worth a file"
    return results(out)


@pytest.mark.thorough
@pytest.mark.usefixtures("each")
def test_stopped_at_every_step_a_run_encodes_no_view_twice(
    backbone: Backbone, run: Run, straight: dict[str, Any], seen: list[bytes]
) -> None:
    for _ in range(6):
        train_some(run, backbone, 1)
        files = list((run.out / "checkpoints" / "views").iterdir())
        assert len(files) == len(seen)
    assert list(trainings(run, backbone)) == []
    assert len(seen) == len(set(seen))
    assert results(run.out) == straight
    assert not (run.out / "checkpoints" / "views").exists(), "nothing is left to train"


@pytest.mark.thorough
@pytest.mark.usefixtures("each")
def test_what_is_damaged_is_encoded_again(
    backbone: Backbone,
    run: Run,
    straight: dict[str, Any],
    seen: list[bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    train_some(run, backbone, 4)
    before = set(seen)
    for path in (run.out / "checkpoints" / "views").iterdir():
        data = bytearray(path.read_bytes())
        data[-9] ^= 1
        path.write_bytes(data)
    seen.clear()
    train(run, backbone)
    told = capsys.readouterr().err.count("damaged (checksum differs); its views are encoded again")
    assert told == len(before & set(seen)) > 0
    assert results(run.out) == straight


@pytest.mark.thorough
@pytest.mark.usefixtures("each")
def test_class_pictures_are_encoded_once_as_well(
    backbone: Backbone, tiny_base: Path, tmp_path: Path, cat_pictures: Path, seen: list[bytes]
) -> None:
    changes: dict[str, Any] = {
        "images": Images(resolution=32, views=1),
        "prior": "class-images",
        "class_images": ClassImages(count=4, steps=1),
        "save_steps": 1,
    }
    run = tiny_run(tiny_base, tmp_path / "run", cat_pictures, **changes)
    for _ in range(6):
        train_some(run, backbone, 1)
    assert list(trainings(run, backbone)) == []
    assert len(seen) == len(set(seen)) > 4
    whole = tiny_run(tiny_base, tmp_path / "whole", cat_pictures, **changes)
    train(whole, backbone)
    assert results(run.out) == results(whole.out)


@pytest.mark.thorough
@pytest.mark.usefixtures("each")
def test_a_full_disk_is_told_and_the_run_goes_on_exactly(
    backbone: Backbone, run: Run, straight: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a view is written; the views before it are there."""
    plain, left = os.write, 3

    def write(file: int, data: Any) -> int:
        nonlocal left
        if Path(os.readlink(f"/proc/self/fd/{file}")).parent.name == "views":
            left -= 1
            if left < 0:
                plain(file, data[:7])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        full = rf"{run.out}/checkpoints/views/.*: cannot be written \(No space left on device\)"
        with pytest.raises(UserError, match=rf"{full}, [\d,]+ bytes needed"):
            train(run, backbone)
    views = run.out / "checkpoints" / "views"
    assert len(list(views.glob("*.safetensors"))) == 3
    train(run, backbone)
    assert results(run.out) == straight


def test_what_a_kill_left_half_written_goes_at_the_next_start(tmp_path: Path) -> None:
    path = written(tmp_path, 1)
    (tmp_path / ".0-ab.safetensors.partial").write_bytes(b"half")
    remove_partials(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
