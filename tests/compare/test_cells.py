"""The plan of a comparison's runs."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from textreg.checkpoint import publish
from textreg.compare.cells import plan_cells
from textreg.compare.variants import variants_of
from textreg.config import Inversion
from textreg.errors import UserError
from textreg.run_folder import RunFolder
from textreg.trainer import check_pictures, content_hashes


def test_concepts_may_share_an_identifier(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """Each cell is a run of its own: two concepts that were given none have the default one."""
    other = tmp_path / "other"
    shutil.copytree(cat_pictures, other)
    flags = {
        "concepts": [{"images": folder, "noun": "cat"} for folder in (cat_pictures, other)],
        "base": str(tiny_base),
    }
    cells = plan_cells(flags, variants_of("none,textreg"), 2, tmp_path / "out")
    found = [(c.run.concepts[0].name, c.run.concepts[0].identifier, c.run.seed) for c in cells]
    names = [cat_pictures.name, cat_pictures.name, "other", "other"]
    assert found[::2] == found[1::2]
    assert found[::2] == [(name, "<krk1>", n % 2) for n, name in enumerate(names)]


def test_what_a_kill_leaves_while_publishing_is_no_strangers_file(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    flags = {"concepts": [{"images": cat_pictures, "noun": "cat"}], "base": str(tiny_base)}
    names = ("equal_time.json", "pareto.png", "compare.html", "compare.json")
    for name in names:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "replace", killed)
            with pytest.raises(KeyboardInterrupt):
                publish(tmp_path / name, b"{}")
    assert {path.name for path in tmp_path.iterdir()} == {f".{name}.partial" for name in names}
    assert plan_cells(flags, variants_of("none,textreg"), 1, tmp_path)
    (tmp_path / ".letter.txt.partial").touch()
    with pytest.raises(UserError, match=r"no comparison's folder \(\.letter\.txt\.partial\)"):
        plan_cells(flags, variants_of("none,textreg"), 1, tmp_path)


def test_each_concept_has_its_own_folder_of_class_pictures(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """FOLDER/CONCEPT of several, FOLDER of one; each is looked at before anything slow."""
    data, classes, out = tmp_path / "data", tmp_path / "classes", tmp_path / "out"
    for name in ("a", "b"):
        shutil.copytree(cat_pictures, data / name)
    shutil.copytree(cat_pictures, classes / "a")
    (classes / "a" / "00.txt").write_text("a photo of a cat, asleep")
    flags = {
        "concepts": [{"images": data / name, "noun": "cat"} for name in ("a", "b")],
        "base": str(tiny_base),
    }

    def folders(concepts: slice, folder: Path) -> list[Path | None]:
        given = flags | {"concepts": flags["concepts"][concepts]}
        variants = variants_of(f"none,class-images:class_images.folder={folder}")
        return [cell.run.class_images.folder for cell in plan_cells(given, variants, 1, out)]

    with pytest.raises(UserError, match=r"classes/b: no such folder with pictures of the class"):
        folders(slice(2), classes)
    shutil.copytree(cat_pictures, classes / "b")
    assert folders(slice(2), classes) == [None, classes / "a", None, classes / "b"]
    assert folders(slice(1), classes / "a") == [None, classes / "a"]
    (classes / "b" / "02.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"classes/b, pictures of the class: .*02\.png"):
        folders(slice(2), classes)
    assert not out.exists()


def test_a_cell_that_began_with_the_whole_folder_keeps_it(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """As an earlier version gave it to every concept."""
    for name in ("a", "b"):
        shutil.copytree(cat_pictures, tmp_path / "classes" / name)
        shutil.copytree(cat_pictures, tmp_path / "data" / name)
    flags = {
        "concepts": [{"images": tmp_path / "data" / name, "noun": "cat"} for name in ("a", "b")],
        "base": str(tiny_base),
    }
    variants = variants_of(f"none,class-images:class_images.folder={tmp_path / 'classes'}")
    out = tmp_path / "out"
    new = plan_cells(flags, variants, 1, out)[1].run
    old = replace(new, class_images=replace(new.class_images, folder=tmp_path / "classes"))
    hashes = content_hashes(old, check_pictures(replace(old, prior="none", inversion=Inversion())))
    old.out.mkdir(parents=True)
    RunFolder(old).claim(hashes, "0" * 24, {})
    shutil.copy(cat_pictures / "00.png", tmp_path / "classes" / "00.png")
    found = plan_cells(flags, variants, 1, out)
    assert found[1].run == old
    assert found[3].run.class_images.folder == tmp_path / "classes" / "b"


def killed(*_: object) -> None:
    raise KeyboardInterrupt
