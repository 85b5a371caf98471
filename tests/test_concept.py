"""A concept's folder: what counts, what is skipped, what is doubted, what training sees."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from textreg.concept import (
    PictureError,
    concept_noun,
    inspect_folder,
    read_picture,
)
from textreg.config import Images
from textreg.errors import UserError
from textreg.file_kinds import printable
from textreg.run_pictures import check_pictures
from textreg.training import Training
from textreg.views import Cut, covering, training_view
from tiny_run import tiny_run


def noise(width: int = 300, height: int = 280, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def fill(folder: Path, count: int) -> None:
    """Writes `count` different good pictures 00.jpg, 01.jpg, ... like the Concept Set's."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        noise(seed=number).save(folder / f"{number:02}.jpg", quality=50)


def test_a_good_folder_has_nothing_to_report(tmp_path):
    fill(tmp_path, 4)
    folder = inspect_folder(tmp_path)
    assert folder.usable
    assert [picture.path.name for picture in folder.pictures] == [f"0{n}.jpg" for n in range(4)]
    assert {(picture.width, picture.height) for picture in folder.pictures} == {(300, 280)}
    assert (folder.skipped, folder.errors, folder.warnings) == ((), (), ())


def test_everything_else_is_skipped_and_listed(tmp_path):
    fill(tmp_path, 4)
    for name in (".DS_Store", "Thumbs.db", "._00.jpg", "09.txt", "meta.json", "notes"):
        (tmp_path / name).write_bytes(b"hello")
    (tmp_path / "sub.jpg").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "clip.MOV").write_bytes(b"\0\0\0\x14ftypqt  " + bytes(60))
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(60))
    (tmp_path / "copy.jpg~").write_bytes((tmp_path / "00.jpg").read_bytes())
    folder = inspect_folder(tmp_path)
    assert folder.usable
    assert len(folder.pictures) == 4
    reasons = dict(folder.skipped)
    assert reasons.pop("IMG_1.HEIC").startswith("a HEIC picture; convert it (`heif-convert")
    assert reasons == {
        ".DS_Store": "hidden file",
        "._00.jpg": "hidden file",
        ".git": "hidden folder",
        "Thumbs.db": "written by a file manager",
        "09.txt": "caption or metadata, not used",
        "meta.json": "caption or metadata, not used",
        "notes": "not a picture",
        "sub.jpg": "folder",
        "clip.MOV": "a video, not a picture",
        "copy.jpg~": "a JPEG picture by content; name it .jpeg to use it",
    }
    # Pictures that could be used are warned about; the rest is only listed.
    assert [line.split(":")[0] for line in folder.warnings] == ["IMG_1.HEIC", "copy.jpg~"]


def test_every_bad_picture_is_one_line_and_makes_the_folder_unusable(tmp_path):
    fill(tmp_path, 5)
    (tmp_path / "00.jpg").write_bytes((tmp_path / "00.jpg").read_bytes()[:-300])
    (tmp_path / "05.png").write_bytes(b"")
    (tmp_path / "06.webp").symlink_to("nowhere")
    os.mkfifo(tmp_path / "07.jpg")
    noise(16, 16).save(tmp_path / "08.png")
    folder = inspect_folder(tmp_path)
    assert not folder.usable
    assert len(folder.pictures) == 4
    names = [line.partition(": ")[0] for line in folder.errors]
    assert names == ["00.jpg", "05.png", "06.webp", "07.jpg", "08.png"]
    assert all("\n" not in line for line in folder.errors)


def test_of_several_folders_the_one_with_the_problem_is_named(tmp_path):
    """Each has a 00.jpg."""
    for name in ("cat", "dog"):
        fill(tmp_path / name, 4)
    (tmp_path / "dog" / "00.jpg").write_bytes(b"")
    run = tiny_run(tmp_path, tmp_path / "out", tmp_path / "cat", tmp_path / "dog")
    with pytest.raises(UserError) as refused:
        check_pictures(run)
    assert str(refused.value).startswith(f"{tmp_path / 'dog'}: 00.jpg: the file is empty")
    empty = tmp_path / "none"
    empty.mkdir()
    folder = inspect_folder(empty)
    assert folder.located(folder.errors[0]).startswith(f"{empty}: no pictures in this folder")


def test_an_unreadable_picture_is_an_error_by_name(tmp_path, monkeypatch):
    def refuse(_: Path):  # file modes do not stop root, so the test does
        raise PermissionError(13, "Permission denied")

    fill(tmp_path, 1)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert inspect_folder(tmp_path).errors == (
        "00.jpg: cannot be read (Permission denied); check its permissions",
    )


def test_content_decides_the_format(tmp_path):
    fill(tmp_path, 3)
    noise(seed=9).save(tmp_path / "really a png.JPG", "PNG")
    folder = inspect_folder(tmp_path)
    assert (len(folder.pictures), folder.errors) == (4, ())
    assert read_picture(tmp_path / "really a png.JPG").tobytes() == noise(seed=9).tobytes()


@pytest.mark.parametrize("count", range(6))
def test_too_few_pictures(tmp_path, count):
    fill(tmp_path / "cat", count)
    folder = inspect_folder(tmp_path / "cat")
    assert folder.usable == (count > 0)
    assert [line.startswith("cat: no pictures") for line in folder.errors] == [True] * (count == 0)
    assert [f"cat: {count} usable picture" in line for line in folder.warnings] == [True] * (
        0 < count < 4
    )


def test_a_missing_folder_is_an_error_not_an_exception(tmp_path):
    for path in (tmp_path / "nowhere", Path(__file__)):
        folder = inspect_folder(path)
        assert not folder.usable
        assert folder.errors[0].startswith(f"{path.name}: cannot be listed")


def test_a_folder_of_heic_only_says_how_to_convert(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(60))
    (line,) = inspect_folder(tmp_path).errors
    assert "0.heic and 2 more" in line
    assert "heif-convert" in line


def test_doubtful_pictures_are_warned_about(tmp_path):
    fill(tmp_path, 4)
    noise(255, 300, seed=5).save(tmp_path / "small.png")
    noise(1000, 300, seed=6).save(tmp_path / "wide.png")
    Image.new("RGB", (300, 300), (128,) * 3).save(tmp_path / "flat.png")
    noise(seed=7).save(tmp_path / "one.png")
    noise(seed=7).save(tmp_path / "two.webp", lossless=True)
    folder = inspect_folder(tmp_path)
    assert folder.usable
    doubts = dict(line.split(": ", 1) for line in folder.warnings)
    assert set(doubts) == {"small.png", "wide.png", "flat.png", "two.webp"}
    assert "the same picture as one.png" in doubts["two.webp"], "equal pixels in another file"
    assert not inspect_folder(tmp_path, resolution=64).warnings[0].startswith("small.png")


def test_names_are_printed_on_one_line(tmp_path):
    fill(tmp_path, 4)
    names = {
        "with spaces.jpg": "with spaces.jpg",
        "-leading dash.jpg": "-leading dash.jpg",
        "new\nline.jpg": "new\\nline.jpg",
        "red \x1b[31m.jpg": "red \\x1b[31m.jpg",
        "right\u202egpj.jpg": "right\\u202egpj.jpg",
        "\U0001f469\u200d\U0001f680 caf\u00e9.jpg": "\U0001f469\u200d\U0001f680 caf\u00e9.jpg",
        os.fsdecode(b"bytes \xff.jpg"): "bytes \\udcff.jpg",
        "x" * 251 + ".jpg": "x" * 251 + ".jpg",
    }
    for name in names:
        (tmp_path / name).write_bytes(b"no picture")
    folder = inspect_folder(tmp_path)
    assert {line.partition(": ")[0] for line in folder.errors} == set(names.values())
    assert printable("a\\b") == "a\\b"
    for name in names:
        good = tmp_path / name
        noise().save(good, "PNG")
        assert read_picture(good).size == (300, 280)
    with pytest.raises(PictureError, match=r"^gone\.jpg: no such file"):
        read_picture(tmp_path / "gone.jpg")


NOUNS = {
    "backpack": "backpack",
    "backpack_dog": "backpack",
    "bear_plushie": "bear plushie",
    "berry_bowl": "bowl",
    "cat2": "cat",
    "dog8": "dog",
    "colorful_sneaker": "sneaker",
    "shiny_sneaker": "sneaker",
    "fancy_boot": "boot",
    "grey_sloth_plushie": "sloth plushie",
    "pink_sunglasses": "sunglasses",
    "rc_car": "rc car",
    "teddybear": "teddy bear",
    "tortoise_plushy": "tortoise plushie",
    "wooden_pot": "wooden pot",
    "moongate": "moongate",
    "Wolf-Plushie 3": "wolf plushie",
    "DuckToy_02": "duck toy",
    "teapot": "teapot",
    "garden_gnome3": "garden gnome",
    "my photos": None,
    "IMG_2931": None,
    "20240401": None,
    "10_krk1 dog": None,
    "caf\u00e9": None,
    "cat\nx": None,
    "_": None,
    "": None,
}


@pytest.mark.parametrize("name", NOUNS)
def test_nouns_of_folder_names(name):
    assert concept_noun(name) == NOUNS[name]


def weights(source: int, target: int) -> np.ndarray:
    """Returns the antialiased bilinear resize along one axis as a matrix [target, source]."""
    scale = source / target
    support = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source) + 0.5 - centres[:, None]) / support
    triangle = np.clip(1 - distance, 0, None)
    return triangle / triangle.sum(1, keepdims=True)


def naive_view(image, resolution, left, top, flip, brightness, contrast) -> np.ndarray:
    """The same view with matrices and loops, as float HWC in -1..1."""
    pixels = np.asarray(image, float)
    height, width, _ = pixels.shape
    short = min(height, width)
    new_height, new_width = height * resolution // short, width * resolution // short
    pixels = np.einsum(
        "Yy,Xx,yxc->YXc", weights(height, new_height), weights(width, new_width), pixels
    )
    pixels = pixels[top : top + resolution, left : left + resolution]
    if flip:
        pixels = pixels[:, ::-1]
    pixels = np.clip(pixels * brightness, 0, 255)
    grey = (pixels @ np.array([0.299, 0.587, 0.114])).mean()
    return np.clip(grey + contrast * (pixels - grey), 0, 255) / 127.5 - 1


VIEWS = [
    # width, height, resolution, centre, position, expected (left, top), flip, brightness, contrast
    (90, 60, 32, True, (0, 0), (8, 0), False, 1, 1),
    (90, 60, 32, False, (0, 0), (0, 0), False, 1, 1),
    (90, 60, 32, False, (1, 1), (16, 0), True, 1, 1),
    (60, 90, 32, False, (0.9, 0.5), (0, 8), False, 0.8, 1),
    (60, 97, 32, True, (0.9, 0.5), (0, 10), True, 1, 1.3),
    (60, 60, 64, False, (0.3, 0.3), (0, 0), False, 1.2, 0.7),
    (64, 64, 64, True, (0.5, 0.5), (0, 0), True, 1.1, 1.1),
]


@pytest.mark.parametrize("case", VIEWS)
def test_training_view_equals_a_naive_reference(case):
    width, height, resolution, centre, position, (left, top), flip, brightness, contrast = case
    image = noise(width, height)
    view = training_view(
        image,
        Cut(width=resolution, height=resolution, center_crop=centre, flip=flip, position=position),
        brightness=brightness,
        contrast=contrast,
    )
    assert view.shape == (3, resolution, resolution)
    assert view.dtype == torch.float32
    assert view.is_contiguous()
    expected = naive_view(image, resolution, left, top, flip, brightness, contrast)
    # Pillow rounds to 8 bits after each of up to four operations.
    assert np.abs(view.numpy().transpose(1, 2, 0) - expected).max() < 3 / 127.5


def test_training_view_is_exact_without_resize_and_refuses_nonsense():
    image = noise(64, 64)
    cut = Cut(width=64, height=64, center_crop=True)
    view = training_view(image, cut)
    assert np.array_equal(
        view.numpy(), np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1
    )
    with pytest.raises(ValueError, match="RGB"):
        training_view(image.convert("L"), cut)
    with pytest.raises(ValueError, match="position"):
        Cut(width=64, height=64, center_crop=True, position=(0, 1.1))
    with pytest.raises(ValueError, match="contrast"):
        training_view(image, cut, contrast=-1.0)


def test_importing_loads_no_torch():
    code = "import sys, textreg.concept, textreg.check; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_what_covers_a_view_is_cut_like_the_original():
    """So training keeps no more of a picture than that, and not one pixel of a view moves."""
    draw = np.random.default_rng(0)
    for number in range(200):
        image = noise(*(int(n) for n in draw.integers(8, 90, 2)), seed=number)
        width, height = (int(n) for n in draw.integers(1, 40, 2))
        kept = covering(image, width, height)
        assert width in (kept.width, kept.height) or height in (kept.width, kept.height)
        assert covering(kept, width, height) is kept
        left, top = draw.random(2)
        cut = Cut(width=width, height=height, center_crop=False, position=(left, top))
        assert cut.of(kept).tobytes() == cut.of(image).tobytes()


def test_of_large_pictures_only_what_the_views_need_stays(backbone, tiny_base, tmp_path):
    fill(tmp_path / "cat", 2)
    run = tiny_run(tiny_base, tmp_path / "run", tmp_path / "cat", images=Images(resolution=16))
    (latents,) = Training(run, backbone, check_pictures(run)).latents
    assert [picture.size for picture in latents._pictures] == [(17, 16)] * 2
