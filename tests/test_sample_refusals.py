"""What `textreg sample` refuses costs nothing: no weight is read and no folder is made."""

from pathlib import Path
from typing import Any

import pytest

from refusal import refusal
from textreg.backbone import Backbone
from textreg.cli import main
from textreg.commands.sample import file_words
from textreg.config import Inversion, Tuning
from tiny_run import tiny_run, train, train_some

LONG = "a " * 22


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
) -> Path:
    """A folder with a finished run, one of two concepts, and one that was stopped."""
    place = tmp_path_factory.mktemp("runs")
    steps: dict[str, Any] = {"inversion": Inversion(steps=1), "tuning": Tuning(steps=1, rank=2)}
    train(tiny_run(tiny_base, place / "cat", cat_pictures, **steps), backbone)
    train(tiny_run(tiny_base, place / "pets", cat_pictures, dog_pictures, **steps), backbone)
    train_some(tiny_run(tiny_base, place / "stopped", cat_pictures, **steps), backbone, 1)
    (place / "a file").touch()
    return place


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cat", f"--prompt={LONG}<krk1> cat"], "the identifier '<krk1>' is cut off"),
        (["cat", f"--negative-prompt={LONG}<krk1> cat"], "the identifier '<krk1>' is cut off"),
        (["nowhere"], "nowhere: no such run or file"),
        (["pets"], "holds no finished concept; give one of its concepts, like"),
        (["pets/horse"], "horse: no such run or file"),
        (["stopped"], "this run is not finished; the command that began it goes on"),
        (["a file"], "cannot be read as safetensors"),
        (["cat", "--num-images=0"], "--num-images is 0; it must be at least 1"),
        (["cat", "--batch-size=0"], "--batch-size is 0; it must be at least 1"),
        (["cat", "--steps=0"], "--steps is 0; it must be at least 1"),
        (["cat", "--steps=1001"], "--steps is 1001; this base has 1000 at most"),
        (["cat", "--resolution=20"], "--resolution 20: this base needs a multiple of 16"),
        (["cat", "--sampler=eulr"], "--sampler: invalid choice: 'eulr'"),
        (["cat", "--base=toyland"], "it belongs to another base"),
        (["cat", "--base="], "--base: is empty"),
        (["cat", "--device="], "--device: is empty"),
        (["cat", "--out="], "--out: is empty"),
        (["cat", "--out={runs}/a file"], "a file: cannot be written"),
        (["cat", "--out={runs}/a file/deep"], "deep: cannot be written"),
        (["cat", "--out=/proc/new"], "--out /proc/new: cannot be written"),
    ],
)
def test_nothing_is_read_or_made(
    runs: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, *flags = (word.replace("{runs}", str(runs)) for word in words)
    prompt = [] if "--prompt=" in words[-1] else ["--prompt=a <krk1> cat"]
    out = [] if "--out=" in words[-1] else [f"--out={runs / 'new'}"]
    given = ["sample", str(runs / name), *prompt, *out, *flags]
    assert said in refusal(lambda: main(given), runs, capsys, monkeypatch)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cat", "--prompt=a cat"], "no prompt has <krk1>, the word of this concept"),
        (
            ["cat", "--prompt=a <krk1> cat", "--prompt=a <krk2> cat"],
            "<krk2> in 'a <krk2> cat' is no learned word (the one here is <krk1>)",
        ),
        (
            ["", "--prompt=a <krk1> cat"],
            "<krk1> in 'a <krk1> cat' is no learned word (no concept is given)",
        ),
        (
            ["cat", f"--prompt=a <krk1> cat {LONG}"],
            "this base reads 22 tokens of a prompt; it does not see 'a a a'",
        ),
    ],
)
def test_what_is_read_otherwise_than_it_was_meant_is_said(
    runs: Path,
    tiny_base: Path,
    tmp_path: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = [str(runs / words[0])] if words[0] else []
    given = ["--num-images=1", "--steps=1", f"--base={tiny_base}", f"--out={tmp_path}"]
    assert main(["sample", *run, *words[1:], *given]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("textreg:")]
    assert len(lines) == 1
    assert said in lines[0]


def test_a_prompt_of_any_letters_fits_into_a_files_name() -> None:
    """255 bytes, with the number and what `publish` puts around it while it writes."""
    for prompt in ("a cat, " * 40, "茶碗の写真" * 40, "чайник " * 40):
        name = f".00000_{file_words(prompt)}.png.partial"
        assert len(name.encode()) <= 255
        assert "�" not in name
    assert file_words("a <krk1> cat!") == "a_krk1_cat"
    assert file_words("茶碗" * 40) == ("茶碗" * 40)[:66]
