"""What is documented is executed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(language: str) -> list[str]:
    """Fenced blocks of the README in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_every_file_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


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
    import textreg

    for line in "\n".join(blocks("python")).splitlines():
        if line.startswith("from textreg import"):
            for name in line.removeprefix("from textreg import ").split(", "):
                assert hasattr(textreg, name)
                assert name in textreg.__all__


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
