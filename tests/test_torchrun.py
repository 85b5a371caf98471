"""Two processes that torchrun starts, on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tiny_run import results

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "textreg")
QUICK = 60
"""Seconds that a group may live on after a rank was killed; torchrun kills the others after 30, so
what rank 0 says shows that it did not wait for that."""


def words(base: Path, out: Path, config: Path, *images: Path) -> list[str]:
    config.write_text(
        "images: {resolution: 16, views: 2}\n"
        "optimizer: {batch_size: 2}\n"
        "tuning: {rank: 2}\n"
        "save_steps: 5\n"
        "card_pictures: 0\n"
    )
    flags = {"--base": base, "--out": out, "--config": config, "--device": "cpu"}
    flags |= {"--inversion-steps": 20, "--tuning-steps": 20, "--noun": "cat"}
    return ["train", *map(str, images), *(str(x) for flag in flags.items() for x in flag)]


def start(given: Sequence[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*TORCHRUN, *given], text=True, stderr=pipe, stdout=pipe, env=environment
    )


def ranks_of(torchrun: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
    return [int(child) for child in children]


@pytest.mark.slow
@pytest.mark.parametrize("concepts", [2, 1])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_stops_the_group_and_the_same_command_goes_on(
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
    concepts: int,
    victim: int,
) -> None:
    """Two concepts: the bytes of one process in waves of one; one concept: of two ranks."""
    images = (cat_pictures, dog_pictures)[:concepts]
    killed, straight = (
        words(tiny_base, tmp_path / name, tmp_path / "settings.yaml", *images)
        for name in ("killed", "straight")
    )
    if concepts == 2:
        # A process of its own as well: the tests' own looks at fewer states of the front.
        alone = [sys.executable, "-m", "textreg", *straight, "--batch-concepts", "1"]
        assert subprocess.run(alone, capture_output=True).returncode == 0
    else:
        together = start(straight)
        together.communicate()
        assert together.returncode == 0
    group = start(killed)
    while not list((tmp_path / "killed").glob("checkpoints/**/0-0000010.safetensors")):
        assert group.poll() is None
        time.sleep(0.01)
    os.kill(ranks_of(group)[victim], signal.SIGKILL)
    _, said = group.communicate(timeout=QUICK)
    assert group.returncode != 0
    assert said.count("Traceback") == 1  # torchrun's own
    if victim == 1:
        assert "to go on: torchrun" in said or "another process of this run has ended" in said
    assert not (tmp_path / "killed" / "README.md").exists()
    again = start(killed)
    said, _ = again.communicate()
    assert again.returncode == 0
    assert said.count("learned") == concepts
    assert results(tmp_path / "killed") == results(tmp_path / "straight")
    once_more = start(killed)
    said, _ = once_more.communicate()
    assert once_more.returncode == 0
    assert said.count("this run is finished") == 1


@pytest.mark.slow
def test_the_surviving_rank_saves_the_last_whole_state(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """One concept on two ranks, no checkpoint due: none of the steps is lost."""
    config, out = tmp_path / "settings.yaml", tmp_path / "killed"
    given = words(tiny_base, out, config, cat_pictures)
    config.write_text(config.read_text().replace("save_steps: 5", "save_steps: 1000"))
    group = start(given)
    while not (out / "metrics.jsonl").is_file() or lines_of(out) < 10:
        assert group.poll() is None
        time.sleep(0.01)
    os.kill(ranks_of(group)[1], signal.SIGKILL)
    _, said = group.communicate(timeout=QUICK)
    assert group.returncode != 0
    assert "another process of this run has ended; the same command goes on" in said
    (saved,) = (out / "checkpoints").iterdir()
    stage, step = saved.stem.split("-")
    assert 10 <= int(step) + 20 * int(stage) == lines_of(out) < 40
    straight = start(words(tiny_base, tmp_path / "straight", config, cat_pictures))
    again = start(given)
    for whole in (straight, again):
        whole.communicate()
        assert whole.returncode == 0
    assert results(out) == results(tmp_path / "straight")


def lines_of(out: Path) -> int:
    return (out / "metrics.jsonl").read_bytes().count(b"\n")


@pytest.mark.slow
def test_bad_input_is_said_once(tiny_base: Path, cat_pictures: Path, tmp_path: Path) -> None:
    given = words(tiny_base, tmp_path / "run", tmp_path / "settings.yaml", cat_pictures)
    refused = start([*given, "--prior", "nothing"])
    _, said = refused.communicate()
    assert refused.returncode != 0
    assert said.count("no prior 'nothing'") == 1
    assert "exitcode  : 2" in said
    assert said.count("exitcode  :") == 1
    assert said.count("Traceback") == 1  # torchrun's own
