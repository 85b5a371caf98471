"""Several processes train one run as one process does; here they are threads."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rank_threads import on_ranks
from textreg import encoded_views
from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.config import Images, Inversion, Optimizer, Run, Tuning
from textreg.errors import GroupEnded, QuarantineError, UserError
from textreg.learning import learn
from textreg.rank_metrics import deal
from textreg.ranks import ALONE, Ranks
from textreg.run_folder import RunFolder
from textreg.run_pictures import check_pictures
from textreg.trainer import trainings
from textreg.training import Training
from textreg.waves import waves_of
from tiny_run import assert_same_edit, copied_concepts, results, tiny_run

pytestmark = pytest.mark.thorough

NAMES = ("cat", "dog", "cow", "hen")
MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tiny_base: Path, cat_pictures: Path, tmp_path: Path) -> MakeRun:
    concepts = copied_concepts(cat_pictures, tmp_path / "data", *NAMES)

    def make(name: str, count: int = 4, **changes: Any) -> Run:
        settings: dict[str, Any] = {
            "concepts": concepts[:count],
            "batch_concepts": 2,
            "inversion": Inversion(steps=2),
            "tuning": Tuning(steps=2, rank=2),
            "card_pictures": 0,
        }
        return tiny_run(tiny_base, tmp_path / name, **(settings | changes))

    return make


def finish(run: Run, backbone: Backbone, ranks: Ranks = ALONE) -> list[str]:
    """Who trains in each step that is left to this rank."""
    going = trainings(run, backbone, ranks=ranks)
    return [" ".join(r.concept for r in records) for _, records in going]


def stop_after(count: int, run: Run, backbone: Backbone, ranks: Ranks) -> list[str]:
    """As `finish`, but this rank ends after some steps, and says nothing to the others."""
    going = trainings(run, backbone, ranks=ranks)
    for _ in range(count):
        next(going)
    going.close()  # type: ignore[attr-defined]
    raise KeyboardInterrupt


def close(here: Path, there: Path, tolerance: float) -> None:
    found, wanted = Adapter.load(here), Adapter.load(there)
    torch.testing.assert_close(found.vector, wanted.vector, rtol=0, atol=tolerance)
    assert_same_edit(found, wanted, atol=tolerance)


def test_two_ranks_leave_the_bytes_of_one_process(backbone: Backbone, make_run: MakeRun) -> None:
    one, two = make_run("one"), make_run("two")
    learn(one, backbone=backbone)
    seen: dict[int, set[str]] = {0: set(), 1: set()}

    def on_rank(ranks: Ranks) -> list[str]:
        adapters = learn(
            two,
            backbone=backbone,
            ranks=ranks,
            on_step=lambda record: seen[ranks.rank].add(record.concept),
        )
        assert adapters is not None
        return [adapter.identifier for adapter in adapters]

    assert on_ranks(2, on_rank) == [[c.identifier for c in two.concepts]] * 2
    assert seen == {0: {"cat", "dog"}, 1: {"cow", "hen"}}
    assert results(two.out) == results(one.out)
    assert RunFolder(two).finished
    names = [sorted(p.name for p in run.out.iterdir()) for run in (one, two)]
    assert names[0] == names[1]


def test_ranks_write_each_view_once_and_go_on_with_each_others(
    backbone: Backbone, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of waves of their own each writes its views; of divided samples the first its own."""
    monkeypatch.setattr(encoded_views, "SECONDS", 0.0)
    divided = Optimizer(accumulation=2)
    for changes in ({}, {"count": 1, "optimizer": divided}):
        straight, stopped = (make_run(f"{n}{len(changes)}", **changes) for n in ("straight", "two"))
        finish(straight, backbone)
        on_ranks(2, lambda ranks, run=stopped: stop_after(2, run, backbone, ranks))
        files = [p.name for p in (stopped.out / "checkpoints" / "views").iterdir()]
        assert {name[0] for name in files} == ({"0"} if changes else {"0", "1"})
        taken = on_ranks(2, lambda ranks, run=stopped: finish(run, backbone, ranks))
        assert not [end for end in taken if isinstance(end, BaseException)]
        assert not (stopped.out / "checkpoints" / "views").exists()
        if not changes:
            assert results(stopped.out) == results(straight.out)


@pytest.mark.slow
def test_a_batch_of_another_shape_is_equal_to_rounding(
    backbone64: Backbone, make_run: MakeRun
) -> None:
    one, three = (make_run(n, batch_concepts=4, dtype="fp64") for n in ("one", "three"))
    assert finish(one, backbone64) == ["cat dog cow hen"] * 4
    taken = on_ranks(3, lambda ranks: finish(three, backbone64, ranks))
    assert taken == [["cat dog"] * 4, ["cow hen"] * 4, []]
    for name in NAMES:
        close(three.out / name, one.out / name, 1e-6)


@pytest.mark.parametrize(
    ("counts", "later"),
    [
        ((1, 3), 1),
        pytest.param((1, 1), 2, marks=pytest.mark.slow),
        pytest.param((4, 2), 3, marks=pytest.mark.slow),
        pytest.param((3, 3), 2, marks=pytest.mark.slow),
    ],
)
def test_a_group_that_ended_goes_on_with_any_number(
    backbone: Backbone, make_run: MakeRun, counts: tuple[int, int], later: int
) -> None:
    straight, killed = make_run("straight"), make_run("killed")
    finish(straight, backbone)
    ends = on_ranks(2, lambda ranks: stop_after(counts[ranks.rank], killed, backbone, ranks))
    assert all(isinstance(end, KeyboardInterrupt | GroupEnded) for end in ends)
    taken = on_ranks(later, lambda ranks: finish(killed, backbone, ranks))
    assert not [end for end in taken if isinstance(end, BaseException)]
    assert results(killed.out) == results(straight.out)
    assert not list(killed.out.glob("metrics-*"))


def gradients_of_a_step(
    run: Run, backbone: Backbone, stage: str, ranks: Ranks
) -> dict[str, Tensor]:
    """Of every parameter before the clip, and the record's losses."""
    training = Training(run, backbone, check_pictures(run), ranks=ranks)
    training.advance()
    if stage == "tuning":
        training.step = run.inversion.steps
        training.advance()
        with torch.no_grad():
            up = training.edits.text.up
            up.copy_(0.1 * torch.randn(up.shape, generator=torch.Generator().manual_seed(0)))
    found: dict[str, Tensor] = {}
    parameters = training.stage.parameters()

    def keep(norms: Tensor) -> None:
        found.update({k: p.grad.clone() for k, p in parameters.items() if p.grad is not None})

    training._clip = keep  # type: ignore[method-assign]
    records = training.take_step()
    for record in records:
        found |= {f"{record.concept} {k}": torch.tensor(v) for k, v in record.losses.items()}
    return found


@pytest.mark.parametrize("stage", ["inversion", "tuning"])
@pytest.mark.parametrize(
    ("ranks", "batch", "accumulation"),
    [
        (2, 1, 2),
        (4, 2, 2),
        pytest.param(2, 2, 1, marks=pytest.mark.slow),
        pytest.param(2, 4, 3, marks=pytest.mark.slow),
    ],
)
def test_divided_samples_give_the_gradient_of_one_rank(
    backbone64: Backbone, make_run: MakeRun, stage: str, ranks: int, batch: int, accumulation: int
) -> None:
    settings = Optimizer(batch_size=batch, accumulation=accumulation)
    prior = "textreg+context+weight-decay"
    run = make_run("run", 1, dtype="fp64", optimizer=settings, prior=prior)
    wanted = gradients_of_a_step(run, backbone64, stage, ALONE)
    first, *others = on_ranks(ranks, lambda r: gradients_of_a_step(run, backbone64, stage, r))
    assert isinstance(first, dict)
    assert any(bool(tensor.any()) for tensor in wanted.values())
    for name, tensor in wanted.items():
        torch.testing.assert_close(first[name], tensor, rtol=1e-12, atol=1e-12)
        for other in others:
            assert isinstance(other, dict)
            assert torch.equal(first[name], other[name])


def test_one_concept_on_two_ranks(backbone64: Backbone, make_run: MakeRun) -> None:
    """Rank 0 alone writes; what it left another number of ranks goes on with."""
    settings = Optimizer(batch_size=2)
    one, two = (make_run(n, 1, dtype="fp64", optimizer=settings) for n in ("one", "two"))
    finish(one, backbone64)
    ends = on_ranks(2, lambda ranks: stop_after(3, two, backbone64, ranks))
    assert all(isinstance(end, KeyboardInterrupt) for end in ends)

    def states(ranks: Ranks) -> dict[str, Tensor]:
        *_, (training, _) = trainings(two, backbone64, ranks=ranks)
        return training.state()

    first, second = on_ranks(2, states)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    close(two.out, one.out, 1e-6)
    lines = [json.loads(x) for x in (two.out / "metrics.jsonl").read_text().splitlines()]
    assert [line["global_step"] for line in lines] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("taken", "saved"),
    [pytest.param(2, "1-0000000", marks=pytest.mark.slow), (3, "1-0000001")],
)
def test_a_rank_that_loses_the_other_within_a_step_saves_the_last_whole_state(
    backbone: Backbone, make_run: MakeRun, taken: int, saved: str
) -> None:
    """Whatever save_steps is; at the change of stages and after it."""
    settings = Optimizer(batch_size=2)
    straight, run = (make_run(name, 1, optimizer=settings) for name in ("straight", "run"))
    on_ranks(2, lambda ranks: finish(straight, backbone, ranks))

    def on_rank(ranks: Ranks) -> list[str]:
        return (
            stop_after(taken, run, backbone, ranks)
            if ranks.rank == 1
            else finish(run, backbone, ranks)
        )

    assert isinstance(on_ranks(2, on_rank)[0], GroupEnded)
    assert [p.stem for p in (run.out / "checkpoints").iterdir()] == [saved]
    again = on_ranks(2, lambda ranks: finish(run, backbone, ranks))
    assert again == [["cat"] * (4 - taken)] * 2
    assert results(run.out) == results(straight.out)


def test_a_prompt_that_no_rank_can_draw_is_said_by_the_first(
    backbone: Backbone, make_run: MakeRun
) -> None:
    """Before there is a plan for the others, who so have nothing to say."""
    run = make_run("run", sample_every=1, sample_prompts=("very " * 90 + "[trigger]",))
    first, second = on_ranks(2, lambda ranks: learn(run, backbone=backbone, ranks=ranks))
    assert isinstance(first, UserError)
    assert "<krk0>" in str(first)
    assert isinstance(second, GroupEnded)
    assert not (run.out / "run.yaml").exists()


def test_a_stop_is_everybodys(backbone: Backbone, make_run: MakeRun) -> None:
    run = make_run("run", 1, optimizer=Optimizer(batch_size=2))

    def on_rank(ranks: Ranks) -> int:
        taken: list[int] = []

        def on_step(record: Any) -> bool:
            taken.append(record.global_step)
            return ranks.rank == 1 and record.global_step == 2

        assert learn(run, backbone=backbone, ranks=ranks, on_step=on_step) is None
        return len(taken)

    assert on_ranks(2, on_rank) == [2, 2]
    assert [p.name for p in (run.out / "checkpoints").iterdir()] == ["0-0000002.safetensors"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "2 processes cannot divide a step's samples: optimizer.batch_size 1 x"),
        (
            {"optimizer": Optimizer(batch_size=2), "images": Images(resolution=16, buckets=True)},
            "micro-batches whole as images.buckets is on",
        ),
    ],
)
def test_samples_that_cannot_be_divided_are_refused(
    backbone: Backbone, make_run: MakeRun, changes: Any, said: str
) -> None:
    run = make_run("run", 1, **changes)
    with pytest.raises(UserError, match=said):
        next(trainings(run, backbone, ranks=Ranks(size=2)))
    assert not run.out.exists()


def test_who_is_in_quarantine_on_any_rank_is_known_to_all(
    backbone: Backbone, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Training._gradient_norms

    def norms(training: Training) -> Tensor:
        found = plain(training)
        found[[c.name == "hen" for c in training.active]] = torch.inf
        return found

    monkeypatch.setattr(Training, "_gradient_norms", norms)
    run = make_run("run")
    for _ in range(2):  # and once more: the second time both waves are done
        ends = on_ranks(2, lambda ranks: learn(run, backbone=backbone, ranks=ranks))
        assert [end.concepts for end in ends if isinstance(end, QuarantineError)] == [{"hen"}] * 2
    assert {p.parent.name for p in run.out.glob("*/README.md")} == {"cat", "dog", "cow"}


def test_metrics_are_dealt_and_joined(tmp_path: Path, make_run: MakeRun) -> None:
    """Lines that a kill left twice are one again, half a line goes, a damaged one stays to be
    told."""
    place = RunFolder(make_run("run"))
    place.path.mkdir()

    def line(concept: str, step: int) -> str:
        return json.dumps({"concept": concept, "global_step": step}) + "\n"

    def content() -> dict[str, str]:
        return {p.name: p.read_text() for p in sorted(place.path.glob("metrics*"))}

    place.metrics.write_text(line("cow", 1) + line("cat", 1) + "damaged\n")
    (place.path / "metrics-1.jsonl").write_text(line("cow", 1) + line("cow", 2) + '{"conc')
    (place.path / "metrics-7.jsonl").write_text(line("cat", 2))
    waves = [["cat", "dog"], ["cow", "hen"]]
    deal(place, waves, {"cow": 2, "hen": 2})
    assert content() == {
        "metrics.jsonl": "damaged\n" + line("cat", 1) + line("cat", 2),
        "metrics-2.jsonl": line("cow", 1) + line("cow", 2),
    }
    deal(place, waves)
    rest = line("cat", 1) + line("cat", 2) + line("cow", 1) + line("cow", 2)
    assert content() == {"metrics.jsonl": "damaged\n" + rest}


def test_waves_that_ranks_began_keep_their_concepts(tmp_path: Path) -> None:
    (tmp_path / "concepts-0003-0004").mkdir()
    (tmp_path / "concepts-0003-0004" / "0-0000001.safetensors").write_bytes(b"")
    places = [(w.first, w.end) for w in waves_of(tmp_path, 7, 2)]
    assert places == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert [(w.first, w.end) for w in waves_of(tmp_path, 7, 5)] == [(0, 2), (2, 4), (4, 7)]


def test_each_rank_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Ranks(rank=1, size=2, local_rank=1, local_size=2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [second.device(asked) for asked in ("auto", "cuda", "cuda:0", "cpu")] == [
        *("cuda:1", "cuda:1", "cuda:0", "cpu")
    ]
    assert (ALONE.device("auto"), ALONE.device("cuda")) == ("auto", "cuda")
    with pytest.raises(UserError, match="3 processes on a machine with 2 GPU"):
        replace(second, local_size=3).device("auto")
