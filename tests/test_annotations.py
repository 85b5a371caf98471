"""Folders as users have them: captions, masks and repeats, each problem one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from textreg.concept import Folder, inspect_folder
from textreg.config import Images
from textreg.kohya_folders import concept_folders, kohya_name
from textreg.masks import unchanged_mask


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (300, 280)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def mask(path: Path, box: tuple[int, int, int, int], size: tuple[int, int] = (300, 280)) -> None:
    image = Image.new("L", size)
    image.paste(255, box)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(4):
        picture(tmp_path / "cat" / f"{n:02}.png", n)
    return tmp_path / "cat"


def names(found: Folder) -> list[str]:
    return [p.path.name for p in found.pictures]


def test_a_plain_folder_has_nothing_beside_its_pictures(folder: Path) -> None:
    found = inspect_folder(folder)
    assert [a.digest for a in found.annotations] == [""] * 4
    assert found.record("cat") == {"cat": [p.sha256 for p in found.pictures]}


def test_captions_and_masks_are_found_and_recorded(folder: Path) -> None:
    (folder / "00.txt").write_text("a cat\ntwo cats")
    (folder / "metadata.jsonl").write_text('{"file_name": "01.png", "text": "three"}')
    mask(folder / "02-masklabel.png", (100, 100, 200, 200))
    found = inspect_folder(folder)
    assert found.errors == ()
    assert names(found) == [f"{n:02}.png" for n in range(4)]
    assert [a.captions for a in found.annotations] == [("a cat", "two cats"), ("three",), (), ()]
    assert [a.mask and a.mask.path.name for a in found.annotations] == [
        None,
        None,
        "02-masklabel.png",
        None,
    ]
    assert found.skipped == ()
    assert found.warnings == (
        "00.png: has no mask; all of it counts",
        "01.png: has no mask; all of it counts",
        "02.png: has no caption; the templates are used for it",
        "03.png: has no caption; the templates are used for it",
        "03.png: has no mask; all of it counts",
    )
    first = found.record("cat")
    assert set(first) == {"cat", "cat/annotations"}
    for change in (
        lambda: (folder / "00.txt").write_text("a cat\ntwo dogs"),
        lambda: mask(folder / "02-masklabel.png", (100, 100, 201, 200)),
    ):
        change()
        assert inspect_folder(folder).record("cat") != first


def test_what_is_switched_off_is_skipped(folder: Path) -> None:
    (folder / "00.txt").write_text("")
    (folder / "metadata.jsonl").write_text("{")
    mask(folder / "02-masklabel.png", (0, 0, 0, 0))
    found = inspect_folder(folder, settings=Images(captions=False, masks="off"))
    assert (found.errors, found.warnings) == ((), ())
    assert [a.digest for a in found.annotations] == [""] * 4
    assert dict(found.skipped) == {
        "00.txt": "caption or metadata, not used",
        "metadata.jsonl": "caption or metadata, not used",
        "02-masklabel.png": "mask, not used",
    }


def test_every_problem_beside_a_picture_is_one_line(folder: Path) -> None:
    (folder / "00.txt").write_bytes(b"\xff")
    (folder / "01.txt").write_text("one")
    (folder / "metadata.jsonl").write_text('{"file_name": "01.png", "text": "another"}')
    mask(folder / "02-masklabel.png", (0, 0, 9, 9), (300, 281))
    mask(folder / "03-masklabel.png", (0, 0, 0, 0))
    picture(folder / "04.png", 4)
    mask(folder / "04-masklabel.png", (0, 0, 10, 280))
    picture(folder / "05.png", 5)
    mask(folder / "05-masklabel.png", (9, 9, 99, 99))
    mask(folder / "05-masklabel.webp", (9, 9, 99, 99))
    mask(folder / "99-masklabel.png", (0, 0, 99, 99))
    found = inspect_folder(folder)
    assert found.errors == (
        "00.txt, line 1: not UTF-8; save the file as UTF-8",
        "01.png: its caption in metadata.jsonl is not the one in the file beside it; keep one of "
        "the two",
        "02-masklabel.png: has 300 x 281 pixels, its picture 300 x 280; give both one size",
        "03-masklabel.png: nothing in it is white, so nothing would be learned",
        "04-masklabel.png: the middle square, which training sees, is black; crop the picture to "
        "its subject, or set images.center_crop: false",
        "05.png: has several masks, 05-masklabel.png and 05-masklabel.webp; remove one",
    )
    assert "99-masklabel.png: skipped, it is a mask without its picture" in found.warnings[0]
    for settings in (Images(center_crop=False), Images(buckets=True)):
        assert not any(
            line.startswith("04") for line in inspect_folder(folder, settings=settings).errors
        )


def test_metadata_finds_pictures_below_and_misses_none(folder: Path) -> None:
    picture(folder / "sub" / "04.png", 4)
    lines = '{"file_name": "sub/04.png", "text": "x"}\n'
    (folder / "metadata.jsonl").write_text(lines)
    found = inspect_folder(folder)
    assert names(found) == ["00.png", "01.png", "02.png", "03.png", "04.png"]
    (folder / "metadata.jsonl").write_text(lines + '{"file_name": "7.png", "text": "x"}')
    assert inspect_folder(folder).errors == (
        "metadata.jsonl: names 7.png, which is not there; remove its line or bring the picture "
        "back",
    )
    (folder / "metadata.jsonl").write_text(lines)
    (folder / "sub" / "04.png").write_bytes(b"")
    assert inspect_folder(folder).errors == (
        "sub/04.png: the file is empty; copy or download it again",
    )


def test_a_folder_of_masks_and_the_transparency(folder: Path, tmp_path: Path) -> None:
    mask(tmp_path / "masks" / "00.png", (0, 0, 300, 280))
    found = inspect_folder(folder, masks=tmp_path / "masks")
    assert found.annotations[0].mask is not None
    assert found.annotations[0].mask.path == tmp_path / "masks" / "00.png"
    (line,) = inspect_folder(folder, masks=tmp_path / "nowhere").errors
    assert (
        line == f"{tmp_path}/nowhere: cannot be listed (No such file or directory); check the path"
    )
    # White on nothing, as painted on a layer of its own: what is not painted does not count.
    painted = Image.new("RGBA", (300, 280), (255, 255, 255, 0))
    painted.paste((255, 255, 255, 255), (0, 0, 150, 280))
    painted.save(tmp_path / "masks" / "00.png")
    record = inspect_folder(folder, masks=tmp_path / "masks").annotations[0].mask
    picture = inspect_folder(folder).pictures[0]
    assert record is not None
    read = unchanged_mask(record, picture)
    assert read is not None
    assert (read.getpixel((9, 9)), read.getpixel((290, 9))) == (255, 0)
    clear = Image.open(folder / "01.png").convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "01.png")
    found = inspect_folder(folder, settings=Images(masks="alpha"))
    assert [a.mask and a.mask.path.name for a in found.annotations] == [None, "01.png", None, None]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("10_krk1 dog", (10, "<krk1>", "dog")),
        ("3_SKS Garden Gnome", (3, "<sks>", "garden gnome")),
        ("2_vox teddybear", (2, "<vox>", "teddy bear")),
        ("1_dog", None),
        ("0_krk1 dog", None),
        ("krk1 dog", None),
        ("10_krk1", None),
        ("2_my photos", None),
        ("x_krk1 dog", None),
    ],
)
def test_kohyas_names(name: str, said: tuple[int, str, str] | None) -> None:
    read = kohya_name(name)
    assert (read and (read.repeats, read.identifier, read.noun)) == said


def test_kohyas_folders(tmp_path: Path) -> None:
    for n in range(2):
        picture(tmp_path / "img" / "10_krk1 dog" / f"{n}.png", n)
        picture(tmp_path / "img" / "5_krk1 dog" / f"{n}.png", 10 + n)
    (tmp_path / "img" / "5_krk1 dog" / "0.txt").write_text("a caption")
    found = inspect_folder(tmp_path / "img")
    assert names(found) == ["0.png", "1.png"] * 2
    assert [a.repeats for a in found.annotations] == [10, 10, 5, 5]
    assert [a.captions for a in found.annotations] == [(), (), ("a caption",), ()]
    assert list(concept_folders(tmp_path / "img")) == [tmp_path / "img"]
    picture(tmp_path / "img" / "1_vox cat" / "0.png", 20)
    assert [path.name for path in concept_folders(tmp_path / "img")] == [
        "10_krk1 dog",
        "1_vox cat",
        "5_krk1 dog",
    ]
    assert inspect_folder(tmp_path / "img").errors == (
        "img: has several concepts; give each by itself",
    )
    picture(tmp_path / "img" / "0.png", 30)
    assert names(inspect_folder(tmp_path / "img")) == ["0.png"], "only where no picture lies beside"
