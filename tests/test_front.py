"""The best state on the front: which it is, that watching changes nothing, that it is kept."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from textreg import front, front_watch
from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.commands.sample import run_base
from textreg.config import Images, Inversion, Optimizer, Run, Tuning
from textreg.errors import UserError
from textreg.evaluate.subjects import subjects_of
from textreg.front import Look, best_line, best_of, best_step, look_steps, still_open, whole
from textreg.learning import write_cards
from textreg.trainer import trainings
from textreg.training import Training
from tiny_run import results, tiny_run, train, train_some

pytestmark = pytest.mark.thorough

LOOKS, SAMPLES = front.LOOKS, front_watch.SAMPLES
LONG: dict[str, Any] = {"inversion": Inversion(steps=2), "tuning": Tuning(steps=20, rank=2)}


@pytest.fixture(autouse=True)
def all_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "LOOKS", LOOKS)
    monkeypatch.setattr(front_watch, "SAMPLES", SAMPLES)


def looks(*pairs: tuple[float, float]) -> list[Look]:
    return [Look(step=n, loss=loss, drift=drift) for n, (loss, drift) in enumerate(pairs)]


def test_which_is_the_best() -> None:
    # Gains 0, .5, .97, 1: the third has 97 % of the most at half of the last one's drift.
    seen = looks((1, 0), (0.5, 0.1), (0.03, 0.2), (0, 0.4))
    assert best_of(seen).step == 2
    # 94 % is not enough.
    assert best_of(looks((1, 0), (0.06, 0.2), (0, 0.4))).step == 2
    # Of equal drift, as under a constraint, more gain.
    assert best_of(looks((1, 0), (0.04, 0), (0, 0))).step == 2
    # Nothing was gained: the word alone.
    assert best_of(looks((1, 0), (1.5, 0.1), (2, 0.4))).step == 0


def test_what_is_dropped_could_never_become_the_best() -> None:
    source = random.Random(4)
    for _ in range(200):
        seen = looks((1, 0), *((source.random() + 0.2, source.random()) for _ in range(8)))
        kept: set[int] = set()
        for count in range(1, len(seen) + 1):
            held = {look.step for look in still_open(seen[:count])}
            # As on disk: only the newest state can be added.
            kept = held & (kept | {count - 1})
            assert best_of(seen[:count]).step in kept


def test_looks_are_evenly_spaced_and_finite() -> None:
    assert look_steps(300) == list(range(0, 301, 30))
    assert look_steps(3) == [0, 1, 2, 3]
    assert look_steps(0) == []
    nan = float("nan")
    assert [look.step for look in whole(looks((1, 0), (nan, 0.1), (0.5, 0.1)))] == [0, 2]
    assert whole(looks((nan, nan), (0.5, 0.1))) == []


def test_watching_changes_no_bit_of_training(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    watched = train(tiny_run(tiny_base, tmp_path / "a", cat_pictures, **LONG), backbone).state()
    monkeypatch.setattr(front_watch, "look_steps", lambda steps: [])
    alone = train(tiny_run(tiny_base, tmp_path / "b", cat_pictures, **LONG), backbone).state()
    assert alone.keys() == watched.keys()
    assert all(torch.equal(alone[name], watched[name]) for name in alone)
    assert not (tmp_path / "b" / "best").exists()


def test_the_loss_is_of_the_same_draws_whatever_the_pieces(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    found: list[list[float]] = []
    for size, cut, pieces in ((1, True, [1] * 4), (3, True, [3, 1]), (3, False, [4])):
        optimizer = Optimizer(batch_size=size)
        run = tiny_run(tiny_base, tmp_path / f"{size}{cut}", cat_pictures, optimizer=optimizer)
        training = new_training(run, backbone)
        draws = front_watch.FixedDraws()
        if cut:
            draws.measure(training)
            training.memory.parts = 2
        found.append(draws.measure(training))
        assert draws.measure(training) == found[-1]
        assert all(p.grad is None for p in training.stage.parameters().values())
        quarter = len(backbone.alphas_cumprod) // 4
        assert [batch.t.shape[1] for batch in draws._batches] == pieces
        timesteps = torch.cat([batch.t[0] for batch in draws._batches])
        assert (timesteps // quarter).tolist() == [0, 1, 2, 3]
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[2] == pytest.approx(found[0], rel=1e-5)


def test_a_pass_holds_all_draws_of_one_concept_but_no_more_of_several(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, dog_pictures: Path, tmp_path: Path
) -> None:
    folders = (cat_pictures, dog_pictures)
    for concepts, changed, pieces in (
        (1, {}, [4]),
        (2, {}, [2, 2]),
        (2, {"optimizer": Optimizer(batch_size=3)}, [3, 1]),
        (1, {"images": Images(resolution=16, buckets=True)}, [1] * 4),
    ):
        run = tiny_run(tiny_base, tmp_path, *folders[:concepts], **changed)
        draws = front_watch.FixedDraws()
        draws.measure(new_training(run, backbone))
        assert [batch.t.shape[1] for batch in draws._batches] == pieces


def new_training(run: Run, backbone: Backbone) -> Training:
    """At the start of stage 2."""
    from textreg.run_pictures import check_pictures

    training = Training(run, backbone, check_pictures(run))
    training.step = run.inversion.steps
    assert training.advance()
    return training


def test_the_state_of_the_best_step_is_kept_for_each_concept(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, dog_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(tiny_base, tmp_path, cat_pictures, dog_pictures, **LONG)
    states: dict[tuple[str, int], Adapter] = {}
    last: dict[str, dict[str, float]] = {}
    for training, records in trainings(run, backbone):
        for concept, adapter in zip(training.active, training.adapters(), strict=True):
            if training.stage_index == 1:
                states[concept.name, training.step] = adapter
        last |= {r.concept: r.front for r in records if r.front is not None}
    for name in ("cat", "dog"):
        folder = tmp_path / name
        content = json.loads((folder / "front.json").read_text())
        assert [look["step"] for look in content["looks"]] == list(range(0, 21, 2))
        best, steps = best_step(folder) or (None, None)
        assert (best, steps) == (last[name]["best"], 20)
        assert best is not None
        if best:
            kept, then = Adapter.load(folder / "best"), states[name, best]
            assert torch.equal(kept.vector, then.vector)
            for key, pair in then.factors.items():
                assert all(map(torch.equal, kept.factors[key], pair))
        assert not (folder / "front").exists()
        (subject,) = subjects_of(folder / "best")
        assert (subject.concept.name, subject.steps) == (name, best)
        assert run_base(folder / "best")["source"] == str(tiny_base)


@pytest.mark.slow
def test_resume_is_exact_and_knows_what_was_seen(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    whole_run = tiny_run(tiny_base, tmp_path / "whole", cat_pictures, save_steps=5, **LONG)
    train(whole_run, backbone)
    for stop in (2, 3, 13):
        run = tiny_run(tiny_base, tmp_path / str(stop), cat_pictures, save_steps=5, **LONG)
        train_some(run, backbone, stop)
        train(run, backbone)
        assert results(run.out) == results(whole_run.out)
        assert (run.out / "front.json").read_bytes() == (whole_run.out / "front.json").read_bytes()
    assert (whole_run.out / "best" / "learned_embeds.safetensors").is_file()


def test_the_card_and_the_last_line_name_it(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(tiny_base, tmp_path, cat_pictures, card_pictures=0)
    train(run, backbone)
    write_cards(run, backbone)
    best, steps = best_step(tmp_path) or (None, None)
    assert f"step {best} of {steps}, in best/" in (tmp_path / "README.md").read_text()
    where = "the last" if best == steps else f"in {tmp_path / 'best'}"
    assert best_line(tmp_path) == f"best on the front: step {best} of {steps}, {where}"
    (tmp_path / "front.json").write_text("{}")
    with pytest.raises(UserError, match=r"front.json: is damaged"):
        best_line(tmp_path)
