"""Fault 2: SIGTERM or SIGINT in any phase: exit 3, the command to go on, then the same bytes."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from textreg import cli, encoded_views, learning, sampling, trainer
from textreg.adapter import export as exporting
from textreg.backbone import Backbone
from textreg.front_watch import FrontWatch
from textreg.latents import Latents
from textreg.training import Training
from tiny_run import results

pytestmark = pytest.mark.thorough

SETTINGS = {
    "images": {"resolution": 16, "views": 2},
    "inversion": {"steps": 2},
    "tuning": {"steps": 3, "rank": 2},
    "card_pictures": 1,
    "seed": 5,
}
PHASES: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "loading": (trainer, "load", lambda *_: True),
    "caching": (Latents, "_encode", lambda *_: True),
    "stage 1": (Training, "take_step", lambda t: t.global_step == 1),
    "switch": (Training, "_enter", lambda _, index: index == 1),
    "stage 2": (Training, "take_step", lambda t: t.global_step == 3),
    "last step": (Training, "take_step", lambda t: t.global_step == 4),
    "saving": (FrontWatch, "finish", lambda *_: True),
    "sampling": (learning, "sample", lambda *_: True),
    "export": (learning, "export", lambda *_: True),
    "report": (learning, "write_card", lambda *_: True),
}
FAST = ("stage 1", "switch", "saving", "report")


@pytest.fixture(scope="module")
def command(
    tiny_base: Path, cat_pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], list[str]]:
    """A training command into a folder."""
    config = tmp_path_factory.mktemp("settings") / "settings.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    words = ["--base", str(tiny_base), "--config", str(config), "--noun", "cat"]
    return lambda out: ["train", str(cat_pictures), *words, "--out", str(out)]


@pytest.fixture(scope="module")
def straight(
    command: Callable[[Path], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("straight") / "run"
    assert cli.main(command(out)) == 0
    return out


@pytest.fixture(autouse=True)
def loaded(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base is there already; loading it again and again would take the longest.

    Each view has its file at once, as where encoding is slow.
    """
    monkeypatch.setattr(encoded_views, "SECONDS", 0.0)
    monkeypatch.setattr(trainer, "load", lambda *_, **__: backbone)
    monkeypatch.setattr("textreg.backbone.load", trainer.load)


def strike(
    patch: pytest.MonkeyPatch, owner: Any, name: str, number: int, when: Callable[..., bool]
) -> None:
    """Send this process a signal just before a call."""
    plain = getattr(owner, name)

    def call(*given: Any, **options: Any) -> Any:
        if when(*given):
            os.kill(os.getpid(), number)
        return plain(*given, **options)

    patch.setattr(owner, name, call)


@pytest.mark.parametrize(
    "phase",
    [p if p in FAST else pytest.param(p, marks=pytest.mark.slow) for p in PHASES],
)
def test_a_signal_in_any_phase(
    command: Callable[[Path], list[str]],
    straight: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    phase: str,
) -> None:
    number = (signal.SIGTERM, signal.SIGINT)[len(phase) % 2]
    owner, name, when = PHASES[phase]
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        strike(patch, owner, name, number, when)
        assert cli.main(command(out)) == 3
    said = capsys.readouterr().err
    assert "stopped; to go on: " in said
    assert "Traceback" not in said
    assert not (out / "README.md").exists()
    assert bool(list(out.glob("*.safetensors"))) is (
        phase in ("saving", "sampling", "export", "report")
    )
    assert cli.main(command(out)) == 0
    assert results(out) == results(straight)
    assert not list(out.rglob(".*.partial*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_other_verbs_write(
    straight: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    """What is there of an export or of drawn pictures is whole."""
    run, out = str(straight), tmp_path / "out"
    plain = exporting.publish
    written: list[Path] = []

    def publish(path: Path, data: bytes) -> None:
        if len(written) == 2:
            os.kill(os.getpid(), number)
        plain(path, data)
        written.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "publish", publish)
        assert cli.main(["export", run, "--out", str(out)]) == 3
    assert len(written) == 2
    assert sorted(p for p in out.rglob("*") if p.is_file()) == sorted(written)
    assert cli.main(["export", run, "--out", str(out)]) == 0
    with monkeypatch.context() as patch:
        strike(patch, sampling, "decode", number, lambda *_: True)
        words = ["--prompt", "a cat", "--resolution", "16", "--steps", "2", "--num-images", "1"]
        assert cli.main(["sample", run, *words, "--out", str(tmp_path / "drawn")]) == 3
    assert [p.name for p in (tmp_path / "drawn").iterdir()] == ["samples.jsonl"]
