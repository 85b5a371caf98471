"""The moving average of the edit: a plain loop's, each concept's own, resumed, saved."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from textreg.adapter import Adapter
from textreg.averages import Averages
from textreg.backbone import Backbone
from textreg.config import Run, Tuning
from textreg.run_pictures import check_pictures
from textreg.trainer import trainings
from textreg.training import Training
from tiny_run import results, tiny_run, train, train_some

pytestmark = pytest.mark.thorough

DECAY = 0.3
EMA = Tuning(steps=4, rank=2, ema_decay=DECAY)


def test_it_is_a_plain_loops_and_each_concept_counts_its_own_steps() -> None:
    random = torch.Generator().manual_seed(0)
    steps = torch.randn(9, 2, 3, 4, generator=random, dtype=torch.float64)
    holds = [[True, n not in (0, 4, 5)] for n in range(8)]
    parameter = steps[0].clone()
    averages = Averages({"p": parameter}, 0.4)
    wanted, taken = list(steps[0].clone()), [0, 0]
    for values, held in zip(steps[1:], holds, strict=True):
        parameter.copy_(values)
        if not held[1]:
            parameter[1] = torch.nan
        averages.update(torch.tensor(held))
        for n in range(2):
            if held[n]:
                decay = min(0.4, (1 + taken[n]) / (10 + taken[n]))
                wanted[n] = decay * wanted[n] + (1 - decay) * values[n]
                taken[n] += 1
    torch.testing.assert_close(averages.values["p"], torch.stack(wanted))
    assert averages.state()["average_steps"].tolist() == taken == [8, 5]


def edits(training: Training) -> dict[str, Tensor]:
    return {k: p.detach().clone() for k, p in training.edits.text.named_parameters()}


def test_the_average_is_saved_and_training_goes_on_as_without(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    plain = tiny_run(tiny_base, tmp_path / "plain", cat_pictures, tuning=Tuning(steps=4, rank=2))
    averaged = replace(plain, out=tmp_path / "averaged", tuning=EMA)
    seen: list[dict[str, Tensor]] = []
    for training, _ in trainings(plain, backbone):
        seen += [edits(training)] if training.stage_index else []
    first = Training(plain, backbone, check_pictures(plain))
    first.step = plain.inversion.steps
    first.advance()
    wanted = edits(first)  # the start is a function of seed and concept
    for k, now in enumerate(seen):
        decay = min(DECAY, (1 + k) / (10 + k))
        wanted = {name: decay * wanted[name] + (1 - decay) * now[name] for name in now}
    training = train(averaged, backbone)
    assert all(torch.equal(edits(training)[name], seen[-1][name]) for name in seen[-1])
    loaded = Adapter.load(averaged.out)
    assert torch.equal(loaded.vector, Adapter.load(plain.out).vector)
    first.edits.text.load_state_dict(wanted)
    names = training.projections.names
    for name, factors in zip(names, first.edits.text.factors(0), strict=True):
        for found, factor in zip(loaded.factors[name], factors, strict=True):
            torch.testing.assert_close(found, factor)
        assert not torch.allclose(loaded.factors[name][1], training.edits.text.factors(0)[0][1][:1])
    # Training's own numbers, without the drift, which is that of what is saved.
    lines = [results(run.out)["metrics"] for run in (plain, averaged)]
    assert [line["losses"] for line in lines[0]] == [line["losses"] for line in lines[1]]


@pytest.fixture(scope="module")
def straight(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Two concepts, never stopped."""
    out = tmp_path_factory.mktemp("averages") / "straight"
    run = tiny_run(tiny_base, out, cat_pictures, dog_pictures, tuning=EMA)
    train(run, backbone)
    return run


@pytest.mark.parametrize("stop_after", [5, pytest.param(3, marks=pytest.mark.slow)])
def test_it_goes_on_exactly(
    backbone: Backbone, straight: Run, tmp_path: Path, stop_after: int
) -> None:
    stopped = replace(straight, out=tmp_path / "stopped")
    train_some(stopped, backbone, stop_after)
    train(stopped, backbone)
    assert results(stopped.out) == results(straight.out)


def test_a_step_that_is_taken_back_never_enters(
    backbone: Backbone, straight: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not finite at the second step of stage 2: then, and after, finite; the other as without."""
    run = replace(straight, out=tmp_path / "ill")
    plain = Training._gradient_norms

    def norms(training: Training) -> Tensor:
        found = plain(training)
        if training.global_step + 1 == 5:
            found[1] = torch.nan
        return found

    monkeypatch.setattr(Training, "_gradient_norms", norms)
    before: dict[str, Tensor] = {}
    for training, records in trainings(run, backbone):
        average = {k: v.clone() for k, v in training.state().items() if k.startswith("average")}
        if training.global_step == 5:
            assert [record.fault is None for record in records] == [True, False]
            for name, tensor in average.items():
                assert torch.equal(tensor[1], before[name][1]), name
                assert not torch.equal(tensor[0], before[name][0]), name
        before = average
    assert before["average_steps"].tolist() == [4, 3]
    assert all(bool(tensor.isfinite().all()) for tensor in before.values())
    there, here = (results(out) for out in (straight.out, run.out))
    own = [name for name in here if name.startswith("cat/")]
    assert len(own) >= 2
    assert all(here[name] == there[name] for name in own)


def test_the_drift_is_that_of_what_is_saved(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(
        tiny_base, tmp_path, cat_pictures, tuning=Tuning(steps=10, rank=2, ema_decay=0.9)
    )
    training = train(run, backbone)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    (wanted,) = training.text_shift.measure(training.saved_edits().text)
    assert last["drift"] == pytest.approx(wanted)
    assert last["drift"] != pytest.approx(
        training.text_shift.measure(training.edits.text)[0], rel=1e-3
    )
