"""What is documented is executed."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import textreg
from textreg.parser import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(language: str) -> list[str]:
    """Fenced blocks of the README in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Words of every line of code that runs textreg, with one process or under torchrun."""
    lines = re.findall(r"^ {4}(?:torchrun .* -m )?textreg (.+)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def anchors(page: Path) -> set[str]:
    """What may stand behind # in a link to a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"https?:", link):
            path, _, anchor = link.partition("#")
            target = Path(os.path.normpath(page.parent / path)) if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@each_page
def test_every_command_on_a_page_is_one(page: Path) -> None:
    text = page.read_text()
    for words in commands(text):
        parser().parse_args(words)
    for script in re.findall(r"\bpython ([\w/]+\.py)", text):
        assert (ROOT / script).is_file(), script
    for module in re.findall(r"\bpython -m (textreg[\w.]*)", text):
        assert importlib.util.find_spec(module), module
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^ {4})make ([\w-]+)", text, re.MULTILINE)) <= targets


def test_every_flag_and_command_in_the_readmes_text_is_one() -> None:
    told = [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", README)]
    inline = [code.removeprefix("textreg ") for code in told if code.startswith("textreg ")]
    assert len(inline) + len(commands(README)) > 6
    for line in inline:
        parser().parse_args(shlex.split(line))
    named = {flag for code in told for flag in re.findall(r"--[a-z-]+", code)}
    assert named - set(parser()._known_flags()) == {"--nproc-per-node"}  # torchrun's


def test_no_page_has_a_figure_left_to_fill_in() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        blanks = re.findall(r"\b[A-Z0-9]{3,} (?:s|GiB|hours)\b", page.read_text())
        assert blanks == [b for b in blanks if b.split()[0].isdigit()], page


def test_every_file_and_test_in_the_method_table_exists() -> None:
    table = (ROOT / "docs/method.md").read_text()
    sources = set(re.findall(r"`([\w/]+\.py)`", table))
    for name in sources:
        folder = "tests" if Path(name).name.startswith("test_") else "src/textreg"
        assert (ROOT / folder / name).is_file(), name


def test_names_the_readme_imports_are_public() -> None:
    for line in "\n".join(blocks("python")).splitlines():
        if line.startswith("from textreg import"):
            for name in line.removeprefix("from textreg import ").split(", "):
                assert hasattr(textreg, name)
                assert name in textreg.__all__


def test_the_python_blocks_run_on_a_tiny_base(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word for word, but for a base, a resolution and numbers of steps that they do not name."""
    import diffusers

    less = {"base": str(tiny_base), "images.resolution": 16, "card_pictures": 1}
    less |= {"inversion.steps": 2, "tuning.steps": 2, "tuning.rank": 2}
    build = textreg.build_run
    monkeypatch.setattr(textreg, "build_run", lambda settings: build(settings | less))
    monkeypatch.setattr(textreg, "sample", partial(textreg.sample, steps=1, resolution=16))
    monkeypatch.chdir(tmp_path)
    Path("custom_datasets").symlink_to(ROOT / "custom_datasets")
    named: dict[str, Any] = {}
    diffusers_lines, program = blocks("python")
    exec(program, named)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"{n}.png" for n in range(4)]
    Path("runs/teapot").symlink_to("cat")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    exec(diffusers_lines, {"pipe": pipe})
    assert pipe.get_active_adapters()
    assert "<krk1>" in pipe.tokenizer.get_vocab()
    cat = {"images": "custom_datasets/data/cat", "noun": "cat"}
    again = named["build_run"]({"concepts": [cat], "out": "runs/again"})
    assert len(list(textreg.steps(again))) == 4


@pytest.mark.slow
def test_the_python_block_runs(tmp_path: Path) -> None:
    (tmp_path / "custom_datasets").symlink_to(ROOT / "custom_datasets")
    program = next(block for block in blocks("python") if "import" in block)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"{n}.png" for n in range(4)]


@pytest.mark.slow
def test_the_demo_tells_its_story(tmp_path: Path) -> None:
    """By number what the report claims by eye (one seed; the study is elsewhere)."""
    import json

    from textreg.cli import main

    out = tmp_path / "demo"
    assert (
        main(["demo", "--out", str(out), "--images", str(ROOT / "custom_datasets/data/cat")]) == 0
    )
    page = (out / "report.html").read_text()
    assert "http" not in re.sub(r"http://www\.w3\.org", "", page)  # self-contained
    rows = {row["prior"]: row for row in json.loads((out / "report.json").read_text())["rows"]}
    drift = {name: row["drift"]["epsilon"]["class"] for name, row in rows.items()}
    assert drift["textreg"] < drift["none"] / 100
    assert rows["textreg"]["drift"]["class picture change"] < 1e-3
    assert rows["none"]["drift"]["class picture change"] > 0.05
    assert rows["textreg"]["editability"]["score"] > 0.75
