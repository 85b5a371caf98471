"""Faults 18, 19: no GPU, no half precision; the same command twice, or the name of an operation."""

from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from textreg import cli
from textreg.backbone import Backbone, load
from textreg.commands.progress import TrainingProgress
from textreg.determinism import deterministic
from textreg.errors import UserError
from textreg.trainer import steps
from textreg.training import Training
from tiny_run import results, tiny_run

pytestmark = pytest.mark.thorough


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    yield
    torch.use_deterministic_algorithms(False)


def test_without_a_gpu_auto_is_the_cpu_in_float32(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the machine is: what torch is asked is masked, also what half precision it has."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    base = load(str(tiny_base))
    assert (base.device.type, base.denoiser.unet.dtype) == ("cpu", torch.float32)
    with pytest.raises(UserError, match="--device cuda: this machine shows no CUDA device"):
        load(str(tiny_base), device="cuda")


def test_the_time_that_is_left_is_estimated(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the pace of the steps: hours on a CPU are seen before they have passed."""
    run = tiny_run(tiny_base, tmp_path / "run", cat_pictures)
    with TrainingProgress(run) as progress:
        for record in steps(run, backbone):
            progress.show(record)
    assert "ETA 0:00:00" in capsys.readouterr().err


def test_the_same_command_twice_gives_the_same_bytes(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """And --deterministic changes none of them on the CPU: no operation there is refused."""
    runs = [tiny_run(tiny_base, tmp_path / name, cat_pictures) for name in ("a", "b", "c")]
    for run in runs:
        if run is runs[2]:
            deterministic()
        assert len(list(steps(run, backbone))) == 6
    first, *others = (results(run.out) for run in runs)
    assert others == [first, first]


def test_an_operation_that_cannot_is_named(
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def step(training: Training) -> None:
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))

    monkeypatch.setattr(Training, "take_step", step)
    words = ["train", str(cat_pictures), "--noun", "cat", "--base", str(tiny_base)]
    words += ["--resolution", "16", "--out", str(tmp_path / "run")]
    assert cli.main([*words, "--deterministic"]) == 2
    said = capsys.readouterr().err
    assert "textreg: --deterministic: put_ has no deterministic form here" in said
