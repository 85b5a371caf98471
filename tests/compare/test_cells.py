"""The plan of a comparison's runs."""

import shutil
from pathlib import Path

import pytest

from textreg.checkpoint import publish
from textreg.compare.cells import plan_cells
from textreg.compare.variants import variants_of
from textreg.errors import UserError


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


def killed(*_: object) -> None:
    raise KeyboardInterrupt
