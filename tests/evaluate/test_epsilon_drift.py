from typing import Any

import pytest
import torch

from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.evaluate import epsilon_drift
from textreg.evaluate.epsilon_drift import EpsilonDrift
from textreg.method.text_regularizer import pinned_basis
from textreg.sampling import PictureModel

PROMPTS = ["a photo of a cat", "a dog"]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the latents at which predictions are compared; any will do."""
    monkeypatch.setattr(epsilon_drift, "_STEPS", 2)


def tuned(backbone: Backbone, strength: float, pinned: torch.Tensor | None = None) -> PictureModel:
    """A model with a random edit, zero on the rows that `pinned` spans."""
    random = torch.Generator().manual_seed(0)
    projections = backbone.projections
    factors = {}
    for name, width in zip(projections.names, projections.widths, strict=True):
        down = torch.randn(2, projections.features, generator=random, dtype=backbone.wide)
        if pinned is not None:
            down = down - (down @ pinned) @ pinned.T
        up = torch.randn(width, 2, generator=random, dtype=backbone.wide)
        factors[name] = (down, strength * up)
    vector = torch.zeros(projections.features)
    return PictureModel(
        backbone,
        Adapter(
            identifier="<krk1>",
            noun="cat",
            learnable_property="object",
            vector=vector,
            factors=factors,
            alpha=2.0,
        ),
    )


def test_the_base_has_not_drifted(backbone64: Backbone) -> None:
    drift = EpsilonDrift(PictureModel(backbone64), PROMPTS, num_timesteps=2)
    assert drift.measure(PictureModel(backbone64)) == 0
    assert drift.measure(tuned(backbone64, 0.0)) == pytest.approx(0, abs=1e-24)


def test_drift_grows_with_the_edit(backbone64: Backbone) -> None:
    drift = EpsilonDrift(PictureModel(backbone64), PROMPTS, num_timesteps=2)
    small, large = (drift.measure(tuned(backbone64, strength)) for strength in (1e-3, 1e-2))
    # To first order the prediction is linear in the edit, so its square grows by 100.
    assert large / small == pytest.approx(100, rel=0.2)


def test_pinned_prompts_do_not_drift_and_others_do(backbone64: Backbone) -> None:
    model = PictureModel(backbone64)
    tokens = model.tokens([PROMPTS[0], ""])
    from textreg.method.text_features import encode_tokens

    masked = torch.zeros(2, dtype=torch.bool)
    rows = encode_tokens(backbone64.text_encoder, tokens, None, masked)
    held = tuned(backbone64, 1.0, pinned_basis(rows))
    assert EpsilonDrift(model, [PROMPTS[0]], num_timesteps=2).measure(held) < 1e-20
    assert EpsilonDrift(model, [PROMPTS[1]], num_timesteps=2).measure(held) > 1e-8


def test_fewer_prompts_at_once_change_rounding_alone(
    backbone64: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, moved = PictureModel(backbone64), tuned(backbone64, 1e-2)
    prompts = [*PROMPTS, "the photo"]
    together = EpsilonDrift(model, prompts, num_timesteps=2, batch_size=8)
    wanted = [together.each(moved), together.prompt_effect()]
    rows: list[int] = []
    predict = PictureModel.predict

    def counted(self: PictureModel, x_t: torch.Tensor, *given: Any) -> torch.Tensor:
        rows.append(len(x_t))
        return predict(self, x_t, *given)

    monkeypatch.setattr(PictureModel, "predict", counted)
    parts = EpsilonDrift(model, prompts, num_timesteps=2, batch_size=1)
    for found, whole in zip((parts.each(moved), parts.prompt_effect()), wanted, strict=True):
        torch.testing.assert_close(found, whole, rtol=1e-5, atol=0)
    # Two a prompt where pictures are drawn, which takes guidance.
    assert set(rows) == {1, 2}


def test_prompt_by_prompt_and_what_a_prompt_does(backbone64: Backbone) -> None:
    model = PictureModel(backbone64)
    together = EpsilonDrift(model, [*PROMPTS, ""], num_timesteps=2)
    moved = tuned(backbone64, 1e-2)
    each = together.each(moved)
    assert each.shape == (3,)
    assert together.measure(moved) == pytest.approx(float(each.mean()))
    # Scaling an edit down to nothing leaves the prompt's own effect, which the empty one has not.
    effect = together.prompt_effect()
    assert effect[2] == 0
    assert min(effect[:2]) > 1e-8
