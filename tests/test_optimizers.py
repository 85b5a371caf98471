"""Optimisers of other packages in a run: resumed, in company, in quarantine, and what is saved.

The packages are optional: pip install -e '.[adamw-8bit,prodigy,schedule-free]', then this file.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.cli import main
from textreg.concept_adamw import ConceptAdamW
from textreg.config import Concept, Optimizer, Run, TextReg, Tuning
from textreg.errors import QuarantineError
from textreg.run_pictures import check_pictures
from textreg.trainer import trainings
from textreg.training import Training
from tiny_run import assert_same_edit, results, tiny_run, train, train_some

PACKAGES = {"adamw-8bit": "bitsandbytes", "prodigy": "prodigyopt", "schedule-free": "schedulefree"}
TUNING = Tuning(steps=4, rank=8)


@pytest.fixture(params=PACKAGES)
def optimizer(request: pytest.FixtureRequest) -> Optimizer:
    pytest.importorskip(PACKAGES[request.param])
    # Few steps: Prodigy needs a start that shows.
    return Optimizer(name=request.param, prodigy_coefficient=100.0)


def test_it_goes_on_exactly_and_stage_one_is_adamws(
    optimizer: Optimizer,
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
) -> None:
    plain = tiny_run(tiny_base, tmp_path / "adamw", cat_pictures, dog_pictures, tuning=TUNING)
    straight = replace(plain, out=tmp_path / "one", optimizer=optimizer)
    stopped = replace(straight, out=tmp_path / "two")
    kinds = {t.stage.name: type(t.optimizer) for t, _ in trainings(straight, backbone)}
    assert kinds["inversion"] is ConceptAdamW
    assert kinds["tuning"] is not ConceptAdamW
    train_some(stopped, backbone, 3)
    train_some(stopped, backbone, 2)
    train(stopped, backbone)
    assert results(stopped.out) == results(straight.out)
    train(plain, backbone)
    there, here = (Adapter.load(run.out / "cat") for run in (plain, straight))
    assert torch.equal(there.vector, here.vector)
    assert not torch.equal(*(next(iter(a.factors.values()))[1] for a in (there, here)))


def test_in_a_batch_as_alone(
    optimizer: Optimizer,
    backbone64: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
) -> None:
    if optimizer.name == "adamw-8bit":
        pytest.skip("knows no float64; tests/test_each_alone.py compares it bit for bit")
    both = tiny_run(
        tiny_base,
        tmp_path / "both",
        cat_pictures,
        dog_pictures,
        tuning=TUNING,
        optimizer=optimizer,
        dtype="fp64",
    )
    train(both, backbone64)
    for concept in both.concepts:
        single = replace(both, concepts=(concept,), out=tmp_path / f"alone-{concept.name}")
        train(single, backbone64)
        there, here = Adapter.load(single.out), Adapter.load(both.out / concept.name)
        assert_same_edit(here, there, rtol=1e-4, atol=1e-9)
        # Prodigy's first steps are short.
        assert all(up.abs().max() > 1e-6 for _, up in there.factors.values())


def test_a_concept_in_quarantine_leaves_and_the_others_go_on(
    optimizer: Optimizer,
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Struck at the first step of stage 2, when there is no state yet, and at the third."""
    run = tiny_run(
        tiny_base, tmp_path, cat_pictures, dog_pictures, tuning=TUNING, optimizer=optimizer
    )
    plain = Training._gradient_norms

    def norms(training: Training) -> Tensor:
        found = plain(training)
        if training.global_step + 1 in (4, 6):
            found[-1] = torch.inf
        return found

    monkeypatch.setattr(Training, "_gradient_norms", norms)
    states: list[dict[str, Tensor]] = []

    def finish() -> None:
        for training, _ in trainings(run, backbone):
            states.append({k: v.detach().clone() for k, v in training.state().items()})

    with pytest.raises(QuarantineError) as failure:
        finish()
    assert failure.value.concepts == {"dog"}
    assert [s["optimizer./begun"].tolist() for s in states[3:]] == [
        [True, False],
        [True, True],
        [True, True],
        [True, True],
    ]
    kept = [name for name in states[4] if not name.startswith("quarantine")]
    for later in states[5:]:
        assert all(torch.equal(later[name][1], states[4][name][1]) for name in kept)
        assert any(not torch.equal(later[name][0], states[4][name][0]) for name in kept)


def test_schedule_free_saves_its_average(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """x = y + (1 - 1 / beta1) (z - y), as the package's eval() has it."""
    pytest.importorskip("schedulefree")
    run = tiny_run(
        tiny_base,
        tmp_path,
        cat_pictures,
        tuning=TUNING,
        optimizer=Optimizer(name="schedule-free", beta1=0.8),
    )
    training = train(run, backbone)
    state = training.state()
    wanted = training.projections.new_edit(8)
    with torch.no_grad():
        for name, p in wanted.named_parameters():
            y, z = state[f"edit.{name}"], state[f"optimizer.{name}/z"]
            p.copy_(y + (1 - 1 / 0.8) * (z - y))
    loaded = Adapter.load(run.out)
    for name, (down, up) in zip(training.projections.names, wanted.factors(0), strict=True):
        torch.testing.assert_close(loaded.factors[name][0], down)
        torch.testing.assert_close(loaded.factors[name][1], up)
    first = loaded.factors[training.projections.names[0]][1]
    assert not torch.equal(first, wanted.each(state["edit.up"])[0][0].mT)


def test_prodigys_rate_is_what_it_found_times_the_schedule(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    pytest.importorskip("prodigyopt")
    tuning = replace(TUNING, schedule="linear", learning_rate=123.0)
    run = tiny_run(
        tiny_base, tmp_path, cat_pictures, tuning=tuning, optimizer=Optimizer(name="prodigy")
    )
    for training, (record,) in trainings(run, backbone):
        if record.stage == "tuning":
            found = training.state()["optimizer./d"].item()
            assert record.learning_rate == pytest.approx(found * (1 - (record.step - 1) / 4))


def test_bitsandbytes_is_kept_from_the_hub() -> None:
    """Imported by itself it asks `kernels`, if that is there and the processor has bf16."""
    pytest.importorskip("bitsandbytes")
    program = """
import sys, types
from pathlib import Path
hub = types.ModuleType("kernels")
hub.get_kernel = lambda *given, **named: print("asked")
sys.modules["kernels"] = hub
from textreg.concept_optimizer import require_optimizer
from textreg.config import Concept, Optimizer, Run
concept = Concept(images=Path("cat"), noun="cat")
optimizer = Optimizer(name="adamw-8bit")
require_optimizer(Run(concepts=(concept,), out=Path("out"), optimizer=optimizer))
print(sys.modules["kernels"] is hub, "bitsandbytes.optim" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (said.returncode, said.stdout, said.stderr) == (0, "True True\n", "")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_said_before_anything_starts(
    name: str,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in ("bitsandbytes.optim", "prodigyopt", "schedulefree"):
        monkeypatch.setitem(sys.modules, module, None)
    words = ["train", str(cat_pictures), "--base", str(tiny_base), "--out", str(tmp_path / "run")]
    assert main([*words, "--prior", "none", "--optimizer", name]) == 2
    said = capsys.readouterr().err
    assert f"--optimizer {name}: the package {PACKAGES[name]} is not installed" in said
    assert f"pip install -e '.[{name}]'" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tuning": Tuning(ema_decay=0.9)}, "averages by itself: leave --ema out"),
        ({"tuning": Tuning(schedule="cosine")}, "has no schedule: set tuning.schedule to constant"),
        ({"textreg": TextReg(hard=True)}, "keeps a second edit, which hard mode does not pin"),
        ({"optimizer": Optimizer(name="schedule-free", beta1=0)}, "needs optimizer.beta1 above 0"),
        ({"optimizer": Optimizer(name="adamw-8bit"), "dtype": "fp64"}, "knows no --dtype fp64"),
        ({"optimizer": Optimizer(prodigy_coefficient=0)}, "prodigy_coefficient is 0; it must be"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], said: str) -> None:
    concept = Concept(images=Path("data/cat"), noun="cat")
    settings: dict[str, Any] = {"optimizer": Optimizer(name="schedule-free")} | changes
    with pytest.raises(ValueError, match=said):
        Run(concepts=(concept,), out=Path("out"), **settings)
    Run(
        concepts=(concept,),
        out=Path("out"),
        prior="none",
        optimizer=Optimizer(name="schedule-free"),
        textreg=TextReg(hard=True),
    )


def test_the_default_names_no_optimizer_in_a_runs_identity(
    tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(tiny_base, tmp_path, cat_pictures)
    assert set(run.identity()["optimizer"]) == {
        "beta1",
        "beta2",
        "epsilon",
        "weight_decay",
        "batch_size",
        "accumulation",
    }
    assert "ema_decay" not in run.identity()["tuning"]
    assert replace(run, optimizer=Optimizer(name="prodigy")).digest != run.digest
    check_pictures(run)
