"""Waves: more concepts than one batch holds, each as if it were alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from textreg import cli
from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.config import Concept, Inversion, Run, Tuning
from textreg.errors import QuarantineError, UserError
from textreg.run_pictures import check_pictures
from textreg.trainer import trainings
from textreg.training import Training
from textreg.waves import waves_of
from tiny_run import copied_concepts, results, tiny_run, train_some

pytestmark = pytest.mark.thorough

NAMES = ("cat", "dog", "cow", "hen", "fox")
MakeRun = Callable[..., Run]
Concepts = tuple[Concept, ...]
FEW: dict[str, Any] = {"inversion": Inversion(steps=1), "tuning": Tuning(steps=2, rank=2)}


@pytest.fixture(scope="module")
def concepts(cat_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Concepts:
    return copied_concepts(cat_pictures, tmp_path_factory.mktemp("data"), *NAMES)


@pytest.fixture(scope="module")
def straight(
    backbone: Backbone,
    tiny_base: Path,
    concepts: Concepts,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What waves of two leave that were never stopped."""
    out = tmp_path_factory.mktemp("straight") / "run"
    finish(tiny_run(tiny_base, out, concepts=concepts, batch_concepts=2, **FEW), backbone)
    return results(out)


@pytest.fixture
def make_run(tiny_base: Path, concepts: Concepts, tmp_path: Path) -> MakeRun:
    def make(name: str, batch: Any, **changes: Any) -> Run:
        return tiny_run(
            tiny_base,
            tmp_path / name,
            **({"concepts": concepts, "batch_concepts": batch} | FEW | changes),
        )

    return make


def finish(run: Run, backbone: Backbone) -> list[str]:
    """Who trains in each step that is left."""
    return [" ".join(r.concept for r in records) for _, records in trainings(run, backbone)]


def close(there: Path, here: Path) -> None:
    """The two runs' adapters, to rounding."""
    found, wanted = Adapter.load(here), Adapter.load(there)
    torch.testing.assert_close(found.vector, wanted.vector, rtol=0, atol=1e-5)
    for name, factors in wanted.factors.items():
        for factor, other in zip(factors, found.factors[name], strict=True):
            torch.testing.assert_close(other, factor, rtol=0, atol=1e-5)


def test_a_concept_in_a_wave_is_as_alone(backbone64: Backbone, make_run: MakeRun) -> None:
    """In float64, where AdamW cannot enlarge the rounding to what float32 shows."""
    waves = make_run("waves", 2, dtype="fp64")
    taken = finish(waves, backbone64)
    assert taken == ["cat dog"] * 3 + ["cow hen"] * 3 + ["fox"] * 3
    for concept in (waves.concepts[n] for n in (1, 2, 4)):
        alone = make_run(f"alone-{concept.name}", 1, concepts=(concept,), dtype="fp64")
        finish(alone, backbone64)
        close(alone.out, waves.out / concept.name)
    lines = [json.loads(x) for x in (waves.out / "metrics.jsonl").read_text().splitlines()]
    for name in NAMES:
        own = [line["global_step"] for line in lines if line["concept"] == name]
        assert own == [1, 2, 3]


@pytest.mark.parametrize(
    "stop_after", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3, 6, 8))]
)
def test_stopped_in_any_wave_it_goes_on_exactly(
    backbone: Backbone, make_run: MakeRun, straight: dict[str, Any], stop_after: int
) -> None:
    stopped = make_run("stopped", 2)
    train_some(stopped, backbone, stop_after)
    assert len(finish(stopped, backbone)) == 9 - stop_after
    assert results(stopped.out) == straight


def test_a_finished_wave_is_not_touched_again(backbone: Backbone, make_run: MakeRun) -> None:
    run = make_run("run", 2)
    train_some(run, backbone, 4)
    first = [run.out / name for name in ("cat", "dog", "checkpoints/concepts-0001-0002")]
    before = {p: p.stat().st_mtime_ns for folder in first for p in folder.rglob("*")}
    assert len(before) >= 6
    finish(run, backbone)
    assert finish(run, backbone) == []
    assert {p: p.stat().st_mtime_ns for folder in first for p in folder.rglob("*")} == before


def test_what_may_interrupt_is_told_between_waves(backbone: Backbone, make_run: MakeRun) -> None:
    """Before each of them, when the last one's concepts are saved."""
    run = make_run("run", 2)
    saved: list[list[str]] = []

    def told() -> None:
        saved.append([n for n in NAMES if (run.out / n / "learned_embeds.safetensors").is_file()])

    for _ in trainings(run, backbone, between_waves=told):
        pass
    assert saved == [[], ["cat", "dog"], ["cat", "dog", "cow", "hen"]]


@pytest.mark.parametrize("taken", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_larger_size_does_not_hold_once_the_run_has_begun(
    backbone: Backbone, make_run: MakeRun, capsys: pytest.CaptureFixture[str], taken: int
) -> None:
    """Neither for the wave without a checkpoint, nor for those to come: the bytes are the same."""
    straight, run, more = make_run("straight", 2), make_run("run", 2), make_run("run", 3)
    finish(straight, backbone)
    going = trainings(run, backbone, with_start=True)
    for _ in range(1 + taken):
        next(going)
    going.close()  # type: ignore[attr-defined]
    for file in (run.out / "checkpoints").glob("*/*"):
        file.unlink()
    assert finish(more, backbone) == ["cat dog"] * 3 + ["cow hen"] * 3 + ["fox"] * 3
    assert results(run.out) == results(straight.out)
    said = capsys.readouterr().err
    assert "goes on with 2 concepts in a batch, as it began; --batch-concepts 3 holds for" in said


def test_a_smaller_size_holds_for_waves_that_have_not_begun(
    backbone: Backbone, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("run", 3)
    train_some(run, backbone, 2)
    taken = finish(make_run("run", 1), backbone)
    assert taken == ["cat dog cow"] + ["hen"] * 3 + ["fox"] * 3
    assert "--batch-concepts 1 holds for waves that have not begun" in capsys.readouterr().err


def test_a_damaged_record_of_the_size_is_refused(backbone: Backbone, make_run: MakeRun) -> None:
    run = make_run("run", 2)
    train_some(run, backbone, 1)
    for damaged in (0, True, "2", [2]):
        (run.out / "environment.json").write_text(json.dumps({"batch_concepts": damaged}))
        with pytest.raises(UserError, match="batch_concepts is no number from 1 up"):
            finish(run, backbone)


def test_auto_goes_on_with_what_the_run_began_with(
    backbone: Backbone, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textreg.wave_size._bytes_kept", lambda *_: 100)
    monkeypatch.setattr("textreg.wave_size.free_bytes", lambda _: 500)
    run = make_run("run", "auto")
    train_some(run, backbone, 1)  # 300 / 100: three fit; two waves of three and two
    monkeypatch.setattr("textreg.wave_size.free_bytes", lambda _: 100)
    assert finish(run, backbone) == ["cat dog cow"] * 2 + ["hen fox"] * 3


def test_what_a_later_wave_cannot_do_is_refused_before_the_first(
    backbone: Backbone, make_run: MakeRun
) -> None:
    run = make_run("run", 1)
    bad = Concept(images=run.concepts[1].images, noun="cat", identifier="a")
    with pytest.raises(UserError, match="'a'"):
        next(trainings(make_run("run", 1, concepts=(run.concepts[0], bad)), backbone))
    assert not (run.out / "run.yaml").exists()


def test_waves_that_do_not_follow_each_other_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "concepts-0003-0004"
    folder.mkdir()
    assert [(w.first, w.end) for w in waves_of(tmp_path, 5, 2)] == [(0, 2), (2, 4), (4, 5)]
    for begun in (folder, tmp_path / "concepts-0004-0005"):
        begun.mkdir(exist_ok=True)
        (begun / "0-0000001.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="does not follow the wave before it"):
        waves_of(tmp_path, 5, 2)


def test_a_batch_of_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["train", "cat", "--batch-concepts", "0"])
    assert end.value.code == 2
    assert "'0' is neither auto nor a whole number from 1 up" in capsys.readouterr().err


def poison(monkeypatch: pytest.MonkeyPatch, name: str, *steps: int) -> None:
    """The concept's gradient is not finite at these global steps."""
    plain = Training._gradient_norms

    def norms(training: Training) -> torch.Tensor:
        found = plain(training)
        for n, concept in enumerate(training.active):
            if concept.name == name and training.global_step + 1 in steps:
                found[n] = torch.inf
        return found

    monkeypatch.setattr(Training, "_gradient_norms", norms)


@pytest.mark.parametrize("last", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4))])
def test_a_concept_in_quarantine_leaves_the_batch(
    backbone64: Backbone, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    """In both stages and at their change: the denoiser sees fewer samples, the others the same."""
    few = FEW | {"inversion": Inversion(steps=3), "dtype": "fp64"}
    healthy = make_run("healthy", 5, **few)
    finish(healthy, backbone64)
    poison(monkeypatch, "dog", 1, last)
    sizes: list[int] = []
    plain = backbone64.denoiser.forward

    def watched(x_t: torch.Tensor, *rest: Any) -> torch.Tensor:
        if torch.is_grad_enabled():  # a step, no look at the front
            sizes.append(len(x_t))
        return plain(x_t, *rest)

    monkeypatch.setattr(backbone64.denoiser, "forward", watched)
    run = make_run("run", 5, **few)
    with pytest.raises(QuarantineError):
        finish(run, backbone64)
    assert sizes == [5] * last + [4] * (5 - last)
    for name in set(NAMES) - {"dog"}:
        close(healthy.out / name, run.out / name)


def test_the_state_keeps_who_left(
    backbone: Backbone, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("run", 5, inversion=Inversion(steps=3))
    training = Training(run, backbone, check_pictures(run))
    poison(monkeypatch, "dog", 1, 2)
    for _ in range(2):
        training.advance()
        training.take_step()
    before = {k: v.clone() for k, v in training.state().items()}
    training.advance()
    after = training.state()
    assert [c.name for c in training.active] == [n for n in NAMES if n != "dog"]
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert set(training.quarantined()) == {"dog"}


def test_a_later_wave_ends_as_failed_if_an_earlier_one_lost_a_concept(
    backbone: Backbone, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("run", 2)
    poison(monkeypatch, "dog", 1, 2)
    ends: list[str] = []
    for _ in range(2):
        with pytest.raises(QuarantineError) as failure:
            finish(run, backbone)
        ends.append(str(failure.value))
        assert failure.value.concepts == {"dog"}
    assert ends[0] == ends[1]
    assert {p.parent.name for p in run.out.glob("*/learned_embeds.safetensors")} == (
        set(NAMES) - {"dog"}
    )
