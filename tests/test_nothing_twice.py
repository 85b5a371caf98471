"""Nothing is computed twice, only what trains has a gradient, and a step waits for nothing.

Which parameters train is in test_trainer.py; that kept views are encoded once, there as well.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from textreg import cli, learning, pictures, trainer
from textreg.backbone import Backbone
from textreg.config import Images, Inversion, Tuning
from textreg.errors import UserError
from textreg.method.text_projections import TextProjections
from textreg.randomness import Draws
from textreg.run_pictures import check_pictures
from textreg.sampling import PictureModel, sample
from textreg.trainer import trainings
from textreg.training import DRIFT_EVERY, Training
from tiny_run import tiny_run, train

pytestmark = pytest.mark.thorough

STEPS = DRIFT_EVERY
"""Of each stage, so that stage 2 measures drift once."""
READ_BY_THE_HOST = {
    *("item", "tolist", "numpy", "cpu", "nonzero", "__bool__", "__int__", "__float__"),
    *("__index__", "__array__", "__contains__", "is_nonzero", "equal", "allclose", "unique"),
}
"""Of a tensor: what brings a number to the host, as Python calls it."""
SIZED_BY_VALUES = {
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "nonzero_static", "masked_select"),
    *("_unique2", "unique_dim", "unique_consecutive", "bincount", "histc", "repeat_interleave"),
}
"""Of ATen: what a device must finish before the host knows what comes next, whoever calls it."""


def _told_by_the_host(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an index, or a new tensor's values, go to the device by a copy that is waited for."""
    if name == "__getitem__":
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        return any(isinstance(part, list) for part in index)
    made = name in ("tensor", "as_tensor") and not isinstance(args[0], Tensor)
    return made and kwargs.get("device") is not None


class _NotRead(TorchFunctionMode):
    """Fails where Python reads a tensor, or tells it numbers, unless `host` is drawing."""

    def __init__(self, host: "_Host"):
        super().__init__()
        self._host = host

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if not self._host.draws:
            assert name not in READ_BY_THE_HOST, f"{name} brings a tensor to the host"
            told = _told_by_the_host(name, args, kwargs or {})
            assert not told, f"{name} waits for what the host tells the device"
        return func(*args, **(kwargs or {}))


class _NotAwaited(TorchDispatchMode):
    """Fails where an operator's result depends on values: its size, or a number for the host."""

    def __init__(self, host: "_Host"):
        super().__init__()
        self._host = host

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if not self._host.draws:
            assert name not in SIZED_BY_VALUES, f"{func} waits for the device"
            if name in ("index", "index_put", "index_put_"):
                masks = [i for i in args[1] if i is not None and i.dtype == torch.bool]
                assert not masks, f"{func} by a mask waits for the device"
        return func(*args, **(kwargs or {}))


class _Host:
    """Knows whether the host draws: those numbers were never on a device."""

    draws = False

    def drawing(self, draw: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            self.draws = True
            try:
                return draw(*args)
            finally:
                self.draws = False

        return watched


@pytest.fixture
def changes() -> dict[str, Any]:
    """How the run of `training` differs."""
    return {}


@pytest.fixture
def training(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
    changes: dict[str, Any],
) -> Training:
    """Two concepts, one view a picture, before the first step; modules see each pass."""
    settings: dict[str, Any] = {
        "images": Images(resolution=16, views=1),
        "inversion": Inversion(steps=STEPS),
        "tuning": Tuning(steps=STEPS, rank=2),
    }
    run = tiny_run(tiny_base, tmp_path, cat_pictures, dog_pictures, **(settings | changes))
    backbone = replace(backbone, recorded_text=None)
    return Training(run, backbone, check_pictures(run))


def encoder_of(backbone: Backbone) -> nn.Module:
    return getattr(backbone.text_encoder, "text_model", backbone.text_encoder).encoder


def calls_of(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one at each call."""
    seen: list[None] = []
    forward = module.forward

    def watched(*args: Any, **options: Any) -> Any:
        seen.append(None)
        return forward(*args, **options)

    monkeypatch.setattr(module, "forward", watched)
    return seen


def take(training: Training, steps: int) -> None:
    for _ in range(steps):
        assert training.advance()
        training.take_step()


def test_a_run_encodes_no_view_twice(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both stages, and the fixed draws of the best state, share the views."""
    encoded: list[bytes] = []
    encode = backbone.vae.encode

    def watched(pictures: Tensor) -> Any:
        encoded.append(pictures.numpy().tobytes())
        return encode(pictures)

    monkeypatch.setattr(backbone.vae, "encode", watched)
    train(tiny_run(tiny_base, tmp_path, cat_pictures, dog_pictures), backbone)
    assert encoded
    assert len(set(encoded)) == len(encoded)


def decoded_by(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a training command decodes each picture."""
    seen: Counter[str] = Counter()
    read = pictures.read_with_alpha

    def watched(path: Path) -> Any:
        seen[path.name] += 1
        return read(path)

    monkeypatch.setattr(pictures, "read_with_alpha", watched)
    monkeypatch.setattr(learning, "write_cards", lambda *_, **__: None)
    monkeypatch.setattr(Training, "advance", lambda _: False)
    assert cli.main(["train", *words]) == 0
    return seen


def test_a_command_decodes_a_picture_to_check_it_and_to_cut_its_views(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer, "load", lambda *_, **__: backbone)
    words = [str(cat_pictures), "--base", str(tiny_base), "--resolution", "16", "--noun", "cat"]
    seen = decoded_by([*words, "--out", str(tmp_path / "run")], monkeypatch)
    assert seen == {path.name: 2 for path in cat_pictures.iterdir()}


def test_what_changes_between_the_two_is_refused(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(cat_pictures, tmp_path / "cat")
    run = tiny_run(tiny_base, tmp_path / "run", folder)
    folders = check_pictures(run)
    shutil.copy(folder / "01.png", folder / "00.png")
    with pytest.raises(UserError, match=r"00\.png: changed while it was being read; start again"):
        next(trainings(run, backbone, folders=folders))
    assert not (run.out / "run.yaml").exists()


def test_text_is_encoded_once_a_step_in_stage_one_and_never_in_stage_two(
    training: Training, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two concepts share the one call; stage 2's own prompts are encoded as it begins."""
    seen = calls_of(encoder_of(backbone), monkeypatch)
    take(training, STEPS)
    assert len(seen) == STEPS
    assert training.advance()
    assert training.stage_index == 1
    seen.clear()
    take(training, STEPS)  # with a measurement of drift
    assert seen == []


def test_a_step_projects_its_text_once_and_runs_the_denoiser_once(
    training: Training, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    projected: list[None] = []
    project = TextProjections.forward

    def watched(*args: Any, **options: Any) -> Any:
        projected.append(None)
        return project(*args, **options)

    monkeypatch.setattr(TextProjections, "forward", watched)
    denoised = calls_of(backbone.denoiser, monkeypatch)
    take(training, 2 * STEPS)
    assert len(projected) == len(denoised) == 2 * STEPS


def test_sampling_projects_text_once_a_batch_not_once_a_denoising_step(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PictureModel(backbone)
    projected = calls_of(model.projections, monkeypatch)
    encoded = calls_of(encoder_of(backbone), monkeypatch)
    denoised = calls_of(backbone.denoiser, monkeypatch)
    pictures = sample(model, ["a cat"] * 4, seeds=range(4), steps=5, resolution=16, batch_size=2)
    assert len(list(pictures)) == 4
    assert len(denoised) == 10
    assert (len(encoded), len(projected)) == (2, 2)


def gradients_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    return [p.grad for module in modules for p in module.parameters() if p.grad is not None]


def test_only_what_trains_has_a_gradient_and_a_state(
    training: Training, backbone: Backbone
) -> None:
    """Vectors in stage 1, factors in stage 2; a moment of each, and one count a tensor."""
    frozen = (backbone.text_encoder, backbone.vae, backbone.denoiser, backbone.projections)
    for trained in ({"vectors"}, {"down", "up"}):
        assert training.advance()
        training._gradients(1)
        parameters = training.stage.parameters()
        assert set(parameters) == trained
        assert all(p.grad is not None for p in parameters.values())
        assert gradients_of(frozen) == []
        others = {"vectors": training.inversion.vectors} if training.stage_index else {}
        assert all(p.grad is None for p in others.values())
        state = training.optimizer.tensors()
        assert {name.rsplit("/", 1)[0] for name in state} == trained
        take(training, STEPS)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> _Host:
    host = _Host()
    for name in ("index", "uniform"):
        monkeypatch.setattr(Draws, name, host.drawing(getattr(Draws, name)))
    return host


EVERYWHERE = Tuning(steps=STEPS, rank=2, placement="full", text_encoder_rank=2)


@pytest.mark.parametrize(
    ("taken", "changes"),
    [
        pytest.param(1, {}, id="stage one"),
        pytest.param(STEPS, {}, id="stage two"),
        pytest.param(STEPS, {"prior": "none", "tuning": EVERYWHERE}, id="edits everywhere"),
        pytest.param(STEPS, {"prior": "gated"}, id="gated"),
    ],
)
def test_no_step_waits_for_the_device(
    training: Training, host: _Host, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """Of both stages: everything up to `_records`, where a step's numbers come at once.

    A picture's view is looked at once, when it is encoded. What is copied to the device goes
    through `on_device`, which tests/method/test_host_copy.py looks at.
    """
    for latents in training.latents:
        for picture in range(4):
            latents._view(picture, 0)
    take(training, taken)
    assert training.advance()
    assert training.stage_index == taken // STEPS
    monkeypatch.setattr(training, "_records", lambda *_: [])
    # As on a GPU, where this is not known.
    monkeypatch.setattr("textreg.quarantine._known_none", lambda _: False)
    with _NotRead(host), _NotAwaited(host):
        for _ in range(2):
            training.take_step()


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: bool(x.any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.numpy(),
        lambda x: torch.where(x > 0),
        lambda x: x[[0, 2]],
        lambda x: torch.tensor([1, 2], device=x.device),
    ],
)
def test_what_waits_is_seen(host: _Host, read: Callable[[Tensor], object]) -> None:
    with pytest.raises(AssertionError), _NotRead(host), _NotAwaited(host):
        read(torch.ones(3))
