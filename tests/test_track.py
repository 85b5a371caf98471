"""Trackers take the records and nothing else; a missing one is said in one line."""

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from textreg.backbone import Backbone
from textreg.cli import main
from textreg.errors import UserError
from textreg.track import TRACKERS, scalars, tracker
from textreg.trainer import steps
from textreg.training import StepRecord
from textreg.training_samples import StepPicture
from tiny_run import tiny_run

RECORD = StepRecord(
    concept="cat",
    stage="tuning",
    step=10,
    global_step=13,
    losses={"denoising": 0.5, "total": 0.75},
    learning_rate=1e-3,
    drift={"class": 0.25, "null": 0.125},
    seconds=2.0,
    front={"loss": 0.25, "best": 5},
)


def test_a_record_as_scalars() -> None:
    assert scalars(RECORD) == {
        "cat/loss/denoising": 0.5,
        "cat/loss/total": 0.75,
        "cat/drift/class": 0.25,
        "cat/drift/null": 0.125,
        "cat/front/loss": 0.25,
        "cat/front/best": 5,
        "cat/learning_rate": 1e-3,
        "cat/seconds": 2.0,
    }
    assert not any("drift" in name for name in scalars(replace(RECORD, drift=None)))


class FakeTensorBoard(ModuleType):
    """Stands for torch.utils.tensorboard."""

    def __init__(self) -> None:
        super().__init__("torch.utils.tensorboard")
        self.calls: list[Any] = []

    def SummaryWriter(self, folder: str, purge_step: int) -> Any:
        self.calls.append(("open", folder, purge_step))
        return self

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.calls.append((name, value, step))

    def add_image(self, name: str, pixels: Any, step: int, dataformats: str) -> None:
        self.calls.append((name, pixels.shape, step, dataformats))

    def close(self) -> None:
        self.calls.append("close")


class FakeWandB(ModuleType):
    """Stands for wandb."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.calls: list[Any] = []
        self.options: list[dict[str, Any]] = []

    def init(self, **options: Any) -> Any:
        self.options.append(options)
        return self

    def Image(self, image: Any, caption: str) -> Any:
        return image.size, caption

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        assert (name, step_metric) in (("global_step", None), ("*", "global_step"))

    def log(self, values: dict[str, Any]) -> None:
        self.calls.append(values)

    def finish(self) -> None:
        self.calls.append("finish")


def test_tensorboard_gets_every_step_and_a_resumed_run_replaces_its_own(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeTensorBoard()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    run = tiny_run(tiny_base, tmp_path / "run", cat_pictures)
    written: list[Any] = []
    with tracker("tensorboard", run) as log:
        assert fake.calls == []
        going = steps(run, backbone)
        for _, record in zip(range(4), going, strict=False):
            log.write(record)
            written += [(k, v, record.global_step) for k, v in scalars(record).items()]
        going.close()  # type: ignore[attr-defined]
    folder = str(tmp_path / "run" / "tensorboard" / "cat")
    assert fake.calls == [("open", folder, 1), *written, "close"]
    fake.calls.clear()
    with tracker("tensorboard", run) as log:
        for record in steps(run, backbone):
            log.write(record)
    assert fake.calls[0] == ("open", folder, 5)
    assert [call[2] for call in fake.calls[1:-1] if call[0] == "cat/loss/total"] == [5, 6]


@pytest.mark.filterwarnings("default")
def test_tensorboards_own_reader_finds_the_numbers_and_the_pictures(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """With the package, which is optional: pip install -e '.[track]'."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tiny_run(tiny_base, tmp_path / "run", cat_pictures)
    image = Image.new("RGB", (3, 2), "red")
    picture = StepPicture(concept="cat", global_step=13, prompt="a <krk1> cat", image=image)
    for step in (12, 13):  # stopped after each
        with tracker("tensorboard", run) as log:
            log.write(replace(RECORD, global_step=step))
            if step == 13:
                log.picture(picture)
        # Another concept in a later wave, whose steps begin at 1 again, purges none of these.
        with tracker("tensorboard", run) as log:
            log.write(replace(RECORD, concept="dog", global_step=1))
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "cat")).Reload()
    assert set(found.Tags()["scalars"]) == set(scalars(RECORD))
    values = [(event.step, event.value) for event in found.Scalars("cat/loss/total")]
    assert values == [(12, 0.75), (13, 0.75)]
    (tag,) = found.Tags()["images"]
    (event,) = found.Images(tag)
    assert (tag, event.step) == ("cat/samples/a <krk1> cat", 13)
    with Image.open(io.BytesIO(event.encoded_image_string)) as drawn:
        assert drawn.convert("RGB").tobytes() == image.tobytes()


def test_wandb_continues_the_run_of_a_folder(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeWandB()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    run = tiny_run(tiny_base, tmp_path / "run", cat_pictures)
    for one in (run, run, replace(run, out=tmp_path / "other")):
        with tracker("wandb", one) as log:
            log.write(RECORD)
    assert fake.calls == [scalars(RECORD) | {"global_step": 13}, "finish"] * 3
    first, again, other = fake.options
    assert first == again
    assert first["id"] != other["id"]
    assert first["resume"] == "allow"
    assert first["config"]["prior"] == "textreg"


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_said_before_anything_starts(
    name: str,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in ("wandb", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)
    words = ["train", str(cat_pictures), "--base", str(tiny_base), "--out", str(tmp_path / "run")]
    assert main([*words, "--track", name]) == 2
    assert f"--track {name}: the package {name} is not installed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    run = tiny_run(tiny_base, tmp_path / "run", cat_pictures)
    with pytest.raises(UserError, match=r"pip install -e '\.\[track\]'"), tracker(name, run):
        pass


def test_without_a_name_nothing_is_tracked(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    with tracker(None, tiny_run(tiny_base, tmp_path / "run", cat_pictures)) as log:
        log.write(RECORD)
    assert not any(tmp_path.iterdir())
