"""What the speed benchmarks report: of as many concepts as they say; kept if a later row fails."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sd15
import torch
from operator_shares import operator_shares
from provenance import peak_gibibytes
from step import textreg_cost
from training_run import first_batch

from textreg.backbone import Backbone
from textreg.config import Inversion, Run
from textreg.errors import UserError
from tiny_run import train_some


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tiny_base: Path, tmp_path: Path) -> Callable[..., Any]:
    """The report of one concept, then two, which do not fit; nothing is trained.

    With each run's concepts and those that it was told to put in a batch, as `runs`.
    """
    runs: list[tuple[int, Any]] = []

    def timed(run: Run, *_: Any) -> Any:
        runs.append((len(run.concepts), run.batch_concepts))
        if len(run.concepts) == 2:
            raise UserError("out of memory")
        return SimpleNamespace(per_concept=0.5)

    base = SimpleNamespace(device=CPU, denoiser=SimpleNamespace(eager=None))
    cost = {"terms_seconds": 0.001, "constraint_seconds": 0.001}
    monkeypatch.setattr("textreg.backbone.load", lambda *_, **__: base)
    monkeypatch.setattr(sd15, "peaks_of", lambda *_: {"a peak": 1e12})
    monkeypatch.setattr(sd15, "time_steps", timed)
    monkeypatch.setattr(sd15, "how_it_ran", lambda *_: {})
    monkeypatch.setattr(sd15, "pass_inputs", lambda *_: ())
    monkeypatch.setattr(sd15, "operator_shares", lambda *_: [])
    monkeypatch.setattr(sd15, "textreg_cost", lambda *_, **__: cost)

    def made(*words: str) -> Any:
        file = tmp_path / "report.json"
        given = ["--base", str(tiny_base), "--device", "cpu", "--json", str(file), *words]
        monkeypatch.setattr(sys, "argv", ["sd15.py", "--concepts", "1,2", *given])
        with pytest.raises(UserError, match="out of memory"):
            sd15.main()
        return json.loads(file.read_text()) | {"runs": runs}

    return made


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("words", "gflop"),
    [
        (["--size", "sd15"], {"inversion": 1696.0, "tuning": 1666.4}),
        (["--size", "sdxl"], {"inversion": 14247.8, "tuning": 13972.6}),
        (["--size", "sdxl", "--side", "512"], None),
    ],
)
def test_utilisation_is_of_the_size_and_at_its_own_side(
    report: Callable[..., Any], words: list[str], gflop: dict[str, float] | None
) -> None:
    """Of a peak of 1 TFLOP a second at half a second a sample-step."""
    (row,) = report(*words)["rows"]
    assert row["size"] == words[1]
    used = row.get("utilisation")
    found = used and {stage: 500 * own["a peak"] for stage, own in used.items()}
    assert found == (gflop and pytest.approx(gflop, rel=1e-3))


def test_a_row_is_of_one_batch_and_outlives_the_next(report: Callable[..., Any]) -> None:
    found = report()
    assert found["runs"] == [(1, 1), (1, 1), (2, 2)]
    (row,) = found["rows"]
    assert row["concepts"] == 1
    assert row["minutes_of_39_concepts"] == 39 * 2000 * 0.5 / 60


@pytest.mark.thorough
def test_textregs_cost_is_of_the_last_batch(
    backbone: Backbone, make_run: Callable[..., Run]
) -> None:
    """Two concepts in two batches."""
    run = make_run("run", batch_concepts=1, inversion=Inversion(steps=0))
    cost = textreg_cost(run, backbone, time.perf_counter, warm_up=0)
    assert cost["terms_seconds"] > 0


@pytest.mark.parametrize(("most", "first"), [(1, 1), (2, 2), (5, 2)])
def test_the_first_batch_is_what_the_run_began_with(
    backbone: Backbone, make_run: Callable[..., Run], most: int, first: int
) -> None:
    run = make_run("run", batch_concepts=most)
    train_some(run, backbone, 1)
    assert first_batch(run) == first


def test_a_profile_is_of_the_second_call_and_sums_to_one() -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(len(calls))
        (torch.ones(2**21).exp() + 1).sum()

    shares = operator_shares(work, CPU, most=50)
    assert calls == [0, 1]
    counts = {one["operator"]: one["calls"] for one in shares}
    assert [counts[name] for name in ("aten::exp", "aten::add", "aten::sum")] == [1, 1, 1]
    assert sum(one["share"] for one in shares) == pytest.approx(1)
    assert shares == sorted(shares, key=lambda one: -one["share"])
    assert len(operator_shares(work, CPU, most=2)) == 2


def test_the_peak_of_a_gpu_is_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2**30 * device.index)
    assert peak_gibibytes(torch.device("cuda", 3)) == 3
    assert peak_gibibytes() > 0.05
