"""Fault 9: a checkpoint that is whole by its checksum, but no state of the run, is one line."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from textreg.backbone import Backbone
from textreg.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from textreg.config import Run
from textreg.errors import QuarantineError, UserError
from textreg.trainer import trainings
from tiny_run import results, tiny_run, train, train_some

pytestmark = pytest.mark.thorough

Tensors = dict[str, Tensor]


def without(name: str) -> Callable[[Checkpoint], Checkpoint]:
    return lambda c: replace(c, tensors={k: v for k, v in c.tensors.items() if k != name})


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Checkpoint], Checkpoint]:
    return lambda c: replace(c, tensors=c.tensors | {name: change(c.tensors[name])})


MOMENT = "optimizer.down/exp_avg"
HOSTILE: dict[str, tuple[Callable[[Checkpoint], Checkpoint], str]] = {
    "no vectors": (without("vectors"), "lacks 'vectors'"),
    "no edit": (without("edit.down"), "lacks 'edit.down'"),
    "no moment": (without(MOMENT), f"lacks '{MOMENT}'"),
    "no strikes": (without("quarantine.strikes"), "lacks 'quarantine.strikes'"),
    "one too many": (
        lambda c: replace(c, tensors=c.tensors | {"a\x1b[2J": torch.zeros(1)}),
        r"holds 'a\\x1b\[2J', which this run has not",
    ),
    "longer": (changed("vectors", lambda t: torch.cat([t, t])), r"is \[2, 64\] .* \[1, 64\]"),
    "one row to spread": (changed("edit.down", lambda t: t[..., :1]), "'edit.down' is "),
    "a scalar": (changed("quarantine.strikes", torch.sum), r"is \[\] "),
    "doubles": (changed("edit.down", Tensor.double), "float64 there, .* torch.float32 here"),
    "whole numbers": (changed(MOMENT, Tensor.long), "int64 there"),
    "no such fault": (changed("quarantine.last", lambda t: t + 9), "a fault that there is not"),
    "no such step": (lambda c: replace(c, step=99), "is of step 99 of stage 2"),
}


@pytest.fixture(scope="module")
def stopped(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """In stage 2."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    run = tiny_run(tiny_base, out, cat_pictures)
    train_some(run, backbone, 4)
    return run


@pytest.fixture
def run(stopped: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    return replace(stopped, out=shutil.copytree(stopped.out, tmp_path / "run"))


@pytest.mark.parametrize("how", HOSTILE)
def test_what_is_no_state_of_this_run_is_one_line(backbone: Backbone, run: Run, how: str) -> None:
    change, match = HOSTILE[how]
    forge(run, change)
    before = results(run.out)
    with pytest.raises(UserError, match=match) as refusal:
        next(trainings(run, backbone))
    assert str(run.out / "checkpoints") in str(refusal.value)
    assert str(refusal.value).isprintable()
    assert results(run.out) == before


def forge(run: Run, change: Callable[[Checkpoint], Checkpoint]) -> None:
    """Publish another state under a right checksum."""
    folder = run.out / "checkpoints"
    checkpoint, _ = newest_checkpoint(folder)
    assert checkpoint is not None
    assert (checkpoint.stage, checkpoint.step) == (1, 1)
    for path in folder.iterdir():
        path.unlink()
    save_checkpoint(folder, change(checkpoint))


@pytest.mark.parametrize("name", ["vectors", "edit.down", MOMENT, "optimizer.down/step"])
def test_numbers_that_are_none_end_in_quarantine(backbone: Backbone, run: Run, name: str) -> None:
    """They are that concept's alone: no refusal, which would stop the others with it."""
    forge(run, changed(name, lambda t: torch.full_like(t, torch.nan)))
    with pytest.raises(QuarantineError, match=r"cat: the .* is not finite at tuning step 3"):
        train(run, backbone)
    assert not list(run.out.glob("*.safetensors"))
