"""The plan of a comparison's runs."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from textreg.captions import caption_templates
from textreg.checkpoint import publish
from textreg.compare import class_folders
from textreg.compare.batches import together
from textreg.compare.cells import plan_cells
from textreg.compare.class_folders import shares_class_pictures
from textreg.compare.failures import record_failure
from textreg.compare.variants import variants_of
from textreg.config import Inversion, Run
from textreg.errors import UserError
from textreg.run_folder import RunFolder
from textreg.run_pictures import check_pictures, content_hashes


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


def test_what_a_file_manager_hides_is_no_strangers_file(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    flags = {"concepts": [{"images": cat_pictures, "noun": "cat"}], "base": str(tiny_base)}
    (tmp_path / ".DS_Store").touch()
    with pytest.raises(UserError, match=r"no comparison's folder \(\.DS_Store\)"):
        plan_cells(flags, variants_of("none,textreg"), 1, tmp_path)
    (tmp_path / "cells").mkdir()
    assert plan_cells(flags, variants_of("none,textreg"), 1, tmp_path)
    (tmp_path / "letter.txt").touch()
    with pytest.raises(UserError, match=r"no comparison's folder \(letter\.txt\)"):
        plan_cells(flags, variants_of("none,textreg"), 1, tmp_path)


def test_a_folder_may_be_named_otherwise_or_moved(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that have begun stay what they were; a moved one only once nothing of it is left."""
    flags = {"concepts": [{"images": cat_pictures, "noun": "cat"}], "base": str(tiny_base)}
    monkeypatch.chdir(tmp_path)

    def plan(out: Path) -> list[Run]:
        cells = plan_cells(flags, variants_of("none,class-images"), 1, out)
        return [cells[0].word, *(cell.run for cell in cells)]

    began = plan(Path("out"))
    pictures = began[2].class_images.folder
    assert pictures is not None
    pictures.mkdir(parents=True)
    hashes = content_hashes(began[0], check_pictures(began[0]))
    for run in began:
        run.out.mkdir(parents=True)
        RunFolder(run).claim(hashes, "0" * 24, {})
    (began[0].out / "learned_embeds.safetensors").touch()
    for out in (tmp_path / "out", Path("../") / tmp_path.name / "out"):
        assert [run.digest for run in plan(out)] == [run.digest for run in began]
        assert shares_class_pictures(plan(out)[2], out)
    moved = Path("out").rename("moved")
    with pytest.raises(UserError, match=r"holds another run: .*embedding is 'out/cells/"):
        plan(moved)
    *finished, failed = (replace(r, out=moved / r.out.relative_to("out")) for r in began)
    record_failure(failed, "cat: no")
    for run in finished:
        for name in ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors", "README.md"):
            (run.out / name).touch()
    assert [run.digest for run in plan(moved)] == [run.digest for run in began]
    with pytest.raises(UserError, match=r"holds another run: concepts\.0\.noun is 'cat' there"):
        plan_cells(flags | {"concepts": [flags["concepts"][0] | {"noun": "dog"}]},
                   variants_of("none,class-images"), 1, moved)  # fmt: skip


def test_a_begun_batch_may_be_named_otherwise(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        shutil.copytree(cat_pictures, tmp_path / name)
    concepts = [{"images": tmp_path / name, "noun": "cat"} for name in ("a", "b")]
    flags = {"concepts": concepts, "base": str(tiny_base)}
    monkeypatch.chdir(tmp_path)

    def batch(out: Path) -> Run:
        cells = plan_cells(flags, variants_of("none,textreg"), 1, out)
        for word in (cell.word for cell in cells[::2]):
            if not word.out.exists():
                word.out.mkdir(parents=True)
                RunFolder(word).claim(content_hashes(word, check_pictures(word)), "0" * 24, {})
            (word.out / "learned_embeds.safetensors").touch()
        return together([cell.run for cell in cells[::2]], out / "batches" / "seed-0" / "none")

    began = batch(Path("out"))
    began.out.mkdir(parents=True)
    RunFolder(began).claim(content_hashes(began, check_pictures(began)), "0" * 24, {})
    assert batch(tmp_path / "out").digest == began.digest


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


def test_in_a_batch_captions_are_read_as_alone(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """Concepts of one identifier are told apart, and called in captions what they were."""
    captions = ["a <krk1> cat", "krk1 on a chair", "a <krk2> cat", "krk2", "cell2", "[trigger]"]
    for name in ("a", "b"):
        shutil.copytree(cat_pictures, tmp_path / name)
    concepts = [{"images": tmp_path / name, "noun": "cat"} for name in ("a", "b")]

    def words(*identifiers: str) -> list[Run]:
        named = [c | {"identifier": i} for c, i in zip(concepts, identifiers, strict=True)]
        flags = {"concepts": named, "base": str(tiny_base)}
        cells = plan_cells(flags, variants_of("none,textreg"), 1, tmp_path / "out")
        return [cell.word for cell in cells[::2]]

    folder = tmp_path / "out" / "batches" / "seed-0" / "word"
    for given in (("<krk1>", "<krk1>"), ("<krk1>", "sks"), ("krk2", "krk1")):
        alone = words(*given)
        batch = together(alone, folder)
        assert len({concept.identifier for concept in batch.concepts}) == 2
        for run, concept in zip(alone, batch.concepts, strict=True):
            own = caption_templates(captions, run.concepts[0])
            assert caption_templates(captions, concept) == own
    assert together(words("<vox1>", "sks"), folder).concepts == tuple(
        run.concepts[0] for run in words("<vox1>", "sks")
    )


def test_a_batch_that_an_earlier_version_began_is_still_its_own(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """It named the words by their place, and captions with them."""
    for name in ("a", "b"):
        shutil.copytree(cat_pictures, tmp_path / name)
    concepts = [{"images": tmp_path / name, "noun": "cat"} for name in ("a", "b")]
    flags = {"concepts": concepts, "base": str(tiny_base)}
    cells = plan_cells(flags, variants_of("none,textreg"), 1, tmp_path / "out")
    runs = [cell.word for cell in cells[::2]]
    folder = tmp_path / "out" / "batches" / "seed-0" / "word"
    named = enumerate((run.concepts[0] for run in runs), 1)
    began = replace(
        runs[0], out=folder, concepts=tuple(replace(c, identifier=f"<krk{n}>") for n, c in named)
    )
    folder.mkdir(parents=True)
    RunFolder(began).claim(content_hashes(began, check_pictures(began)), "0" * 24, {})
    assert together(runs, folder) == began


def test_class_pictures_that_were_drawn_otherwise_are_refused(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known at once, by base, resolution and prompt; of earlier versions' by less."""
    out = tmp_path / "out"

    def plan(**changes: Any) -> Run:
        concept = {"images": cat_pictures, "noun": changes.pop("noun", "cat")}
        flags = {"concepts": [concept], "base": str(tiny_base)} | changes
        return plan_cells(flags, variants_of("none,class-images"), 1, out)[1].run

    run = plan()
    folder = run.class_images.folder
    assert folder is not None
    monkeypatch.setattr(class_folders, "draw", lambda *_: iter(()))
    backbone: Any = SimpleNamespace(files=SimpleNamespace(place=tiny_base))
    class_folders.draw_class_pictures(run, backbone, out, lambda folder: None)
    picture = {"name": "0.png", "sha256": "0", "prompt": "a photo of a cat"}
    (folder / "pictures.json").write_text(json.dumps([picture]))
    assert plan(seed=1).class_images.folder == folder
    other = shutil.copytree(tiny_base, tmp_path / "base")
    for changes, why in (
        ({"noun": "dog"}, "prompt is 'a photo of a cat' there, 'a photo of a dog' here"),
        ({"images.resolution": 32}, "resolution is None there, 32 here"),
        ({"base": str(other)}, f"base is {str(tiny_base)!r} there, {str(other)!r} here"),
    ):
        with pytest.raises(UserError, match=f"holds other class pictures: {re.escape(why)}"):
            plan(seed=1, **changes)
    drawn = json.loads((folder / "drawn.json").read_text())
    (folder / "drawn.json").write_text(json.dumps(drawn | {"base_sha256": "0"}))
    with pytest.raises(UserError, match="base_sha256 is '0' there"):
        plan(seed=1)
    del drawn["base_sha256"]  # as earlier versions kept it
    (folder / "drawn.json").write_text(json.dumps(drawn))
    assert plan(seed=1).class_images.folder == folder
    (folder / "drawn.json").unlink()
    assert plan(seed=1, base=str(other)).class_images.folder == folder
    with pytest.raises(UserError, match="holds other class pictures: prompt is"):
        plan(seed=1, noun="dog")
    class_folders.draw_class_pictures(run, backbone, out, lambda folder: None)
    assert not (folder / "drawn.json").exists(), "whose they are is not known"


def killed(*_: object) -> None:
    raise KeyboardInterrupt
