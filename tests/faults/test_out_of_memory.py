"""Fault 17, outside a step: one line with the phase, what was asked for, what to do; exit 2."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from textreg import backbone, cli, front_watch, sampling, wave_size
from textreg.backbone import Backbone
from textreg.base_files import BaseFiles
from textreg.errors import UserError
from textreg.evaluate import evaluation
from textreg.out_of_memory import memory_of, shortage

pytestmark = pytest.mark.thorough

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."
CPU = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"
ERRORS: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError(FULL),
    lambda: RuntimeError(CPU),
    MemoryError,
]


def train_words(base: Path, out: Path, *pictures: Path) -> list[str]:
    words = ["train", *map(str, pictures), "--base", str(base), "--out", str(out), "--rank", "2"]
    words += ["--noun", "cat", "--resolution", "16", "--inversion-steps", "1"]
    return [*words, "--tuning-steps", "1", "--device", "cpu"]


def fail(error: Exception) -> Callable[..., None]:
    def raises(*given: object, **named: object) -> None:
        raise error

    return raises


class Failing:
    """A part of a base that has no memory to work in."""

    def __init__(self, part: object, method: str, error: Exception):
        self._part, self._method, self._error = part, method, error

    def __getattr__(self, name: str) -> object:
        return fail(self._error) if name == self._method else getattr(self._part, name)


def test_torchs_own_error_of_the_cpu_is_known() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert shortage(error.value) == str(error.value).split("\n", 1)[0] + "."
    with pytest.raises(MemoryError) as own:
        bytearray(2**62)
    assert shortage(own.value) == "the system gives no more."
    assert shortage(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert shortage(ValueError(FULL)) is None


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_of("x", "y"):
        raise RuntimeError("shapes")
    line = r"^out of memory while x: no\. Give y, or free memory"
    with pytest.raises(UserError, match=line), memory_of("x", "y"):
        raise torch.OutOfMemoryError("no\nand a table of the card's memory")


@pytest.mark.parametrize(
    ("owner", "name", "phase", "advice", "error"),
    [
        (BaseFiles, "load", "loading the base", "--dtype bf16", ERRORS[0]),
        (backbone.Backbone, "encode", "encoding the prompts", "--batch-concepts", ERRORS[1]),
        (front_watch.FixedDraws, "measure", "looking at the front", "--resolution", ERRORS[2]),
        (sampling, "_once_a_prompt", "drawing pictures", "--batch-size 1", ERRORS[0]),
    ],
)
def test_a_run_says_in_which_phase(
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    owner: object,
    name: str,
    phase: str,
    advice: str,
    error: Callable[[], Exception],
) -> None:
    """And the same command, with memory, goes on to the end."""
    words = train_words(tiny_base, tmp_path / "run", cat_pictures)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail(error()))
        assert cli.main(words) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("textreg: ")]
    assert line.startswith(f"textreg: out of memory while {phase}: ")
    assert (shortage(error()) or "?") in line
    assert advice in line
    assert cli.main(words) == 0


@pytest.mark.parametrize(
    ("method", "phase", "error"),
    [("encode", "encoding the pictures", ERRORS[1]), ("decode", "decoding pictures", ERRORS[2])],
)
def test_the_vae(
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
    phase: str,
    error: Callable[[], Exception],
) -> None:
    plain = backbone.freeze

    def freeze(module: torch.nn.Module) -> object:
        whole = plain(module)
        return Failing(whole, method, error()) if hasattr(module, "decoder") else whole

    monkeypatch.setattr(backbone, "freeze", freeze)
    assert cli.main(train_words(tiny_base, tmp_path / "run", cat_pictures)) == 2
    assert f"textreg: out of memory while {phase}: " in capsys.readouterr().err


def test_the_size_of_a_batch_is_not_found(
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(wave_size, "predict", fail(torch.OutOfMemoryError(FULL)))
    words = train_words(tiny_base, tmp_path / "run", cat_pictures, dog_pictures)
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert f"out of memory while measuring one concept's batch: {FULL} Give --batch-con" in said
    assert not (tmp_path / "run" / "run.yaml").exists()
    assert cli.main([*words, "--batch-concepts", "1"]) == 0


def test_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "subjects_of", fail(torch.OutOfMemoryError(FULL)))
    with pytest.raises(UserError, match=re.escape(f"out of memory while evaluating: {FULL}")):
        evaluation.evaluate(tmp_path, [SimpleNamespace(name="judge")])  # type: ignore[list-item]


@pytest.mark.parametrize("error", ERRORS)
def test_anywhere_else(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Callable[[], Exception],
) -> None:
    monkeypatch.setitem(cli._VERBS, "check", fail(error()))
    assert cli.main(["check", "."]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"textreg: out of memory: {shortage(error())} Free memory of this devi")


def test_a_card_that_is_full_is_no_missing_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "zeros", fail(torch.OutOfMemoryError(FULL)))
    with pytest.raises(torch.OutOfMemoryError):
        backbone.device_of("cpu")


def test_the_libraries_wrap_nothing(
    backbone: Backbone, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs out while a part is read is no part that cannot be read."""
    from diffusers import AutoencoderKL

    monkeypatch.setattr(AutoencoderKL, "from_pretrained", fail(torch.OutOfMemoryError(FULL)))
    with pytest.raises(torch.OutOfMemoryError):
        backbone.files.load("vae", torch.float32)
