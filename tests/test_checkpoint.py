"""A checkpoint is read whole or not at all."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from textreg import checkpoint as checkpoint_module
from textreg.checkpoint import Checkpoint, newest_checkpoint, publish, save_checkpoint
from textreg.errors import UserError


def some(step: int, stage: int = 0) -> Checkpoint:
    random = torch.Generator().manual_seed(step)
    tensors = {
        "vectors": torch.randn(1, 3, generator=random),
        "optimizer.vectors/step": torch.tensor(float(step)),
    }
    return Checkpoint(stage=stage, step=step, digest="d1", tensors=tensors)


def same(found: Checkpoint | None, wanted: Checkpoint) -> bool:
    return (
        found is not None
        and (found.stage, found.step, found.digest) == (wanted.stage, wanted.step, wanted.digest)
        and found.tensors.keys() == wanted.tensors.keys()
        and all(torch.equal(found.tensors[k], t) for k, t in wanted.tensors.items())
        and all(found.tensors[k].dtype == t.dtype for k, t in wanted.tensors.items())
    )


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, some(7))
    found, damaged = newest_checkpoint(tmp_path)
    assert same(found, some(7))
    assert damaged == []


def test_nothing_there_is_no_checkpoint(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) == (None, [])
    assert newest_checkpoint(tmp_path / "missing") == (None, [])


def test_the_newest_two_are_kept_the_second_stage_last(tmp_path: Path) -> None:
    for stage, step in ((0, 5), (0, 900), (1, 2), (1, 10)):
        save_checkpoint(tmp_path, some(step, stage))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["1-0000002.safetensors", "1-0000010.safetensors"]
    assert same(newest_checkpoint(tmp_path)[0], some(10, 1))


def test_other_files_beside_them_are_left_alone(tmp_path: Path) -> None:
    other = {"x": torch.zeros(1)}
    for name in ("learned_embeds", "pytorch_lora_weights", "9-note"):
        save_file(other, tmp_path / f"{name}.safetensors")
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, some(step))
    found, damaged = newest_checkpoint(tmp_path)
    assert same(found, some(3))
    assert damaged == []
    assert len(list(tmp_path.iterdir())) == 5


def test_every_flipped_bit_is_found_or_harmless(tmp_path: Path) -> None:
    """Whatever byte is damaged: the last whole checkpoint comes back, never a wrong one."""
    save_checkpoint(tmp_path, some(1))
    path = save_checkpoint(tmp_path, some(2))
    data = path.read_bytes()
    passed_over = 0
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 1 << (position % 8)
        path.write_bytes(broken)
        found, damaged = newest_checkpoint(tmp_path)
        passed_over += len(damaged)
        assert same(found, some(1) if damaged else some(2)), position
    assert passed_over > 0.9 * len(data)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, 300, -1])
def test_a_truncated_one_is_passed_over(tmp_path: Path, keep: int) -> None:
    save_checkpoint(tmp_path, some(1))
    path = save_checkpoint(tmp_path, some(2))
    path.write_bytes(path.read_bytes()[:keep])
    found, damaged = newest_checkpoint(tmp_path)
    assert same(found, some(1))
    assert len(damaged) == 1
    assert str(path) in damaged[0]


def test_all_damaged_is_a_fresh_start_said_aloud(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, some(step)).write_bytes(b"")
    found, damaged = newest_checkpoint(tmp_path)
    assert found is None
    assert len(damaged) == 2


@pytest.mark.parametrize("key", ["stage", "step", "digest"])
def test_a_changed_fact_is_found(tmp_path: Path, key: str) -> None:
    path = save_checkpoint(tmp_path, some(2))
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["textreg.checkpoint"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"textreg.checkpoint": json.dumps(facts | {key: "1"})})
    assert newest_checkpoint(tmp_path)[0] is None


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    publish(path, b"old")

    def fail(*given: object) -> None:
        raise OSError(28, "No space left on device")

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(UserError, match=r"No space left on device\), 3 bytes needed"):
        publish(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_rests_of_a_killed_write_are_cleaned_up(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, some(1))
    (tmp_path / ".0-0000002.safetensors.partial").write_bytes(b"half")
    assert same(newest_checkpoint(tmp_path)[0], some(1))
    assert [p.name for p in tmp_path.iterdir()] == ["0-0000001.safetensors"]


def test_old_ones_go_only_after_the_new_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, some(step))

    def fail(path: Path, data: bytes) -> None:
        raise UserError("full")

    monkeypatch.setattr(checkpoint_module, "publish", fail)
    with pytest.raises(UserError, match="full"):
        save_checkpoint(tmp_path, some(3))
    assert same(newest_checkpoint(tmp_path)[0], some(2))
    assert len(list(tmp_path.iterdir())) == 2
