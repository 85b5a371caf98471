"""A trained concept of each family: plain diffusers draws our pictures, every program its files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from family_setting import Loaded, family_run, plain_pipeline
from textreg.adapter import Adapter
from textreg.learning import learn
from textreg.sampling import PictureModel, sample, scheduler_of

# diffusers 0.42 and numpy 2 (2026-11); its Euler schedulers read a tensor as an array.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)
PROMPT = "a photo of a <krk1> cat in the dog"
SIDE, STEPS, GUIDANCE = 32, 3, 5.0


@pytest.fixture
def trained(
    family: str,
    base_of: Callable[[str], Path],
    in_float32: Loaded,
    cat_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A finished run, its edit and word then made so large that they decide the picture."""
    out = tmp_path_factory.mktemp(family) / "run"
    learn(
        family_run(base_of(family), out, cat_pictures, card_pictures=1),
        backbone=in_float32(family),
    )
    adapter = Adapter.load(out)
    factors = {name: (down, 3000 * up) for name, (down, up) in adapter.factors.items()}
    replace(adapter, factors=factors, vector=20 * adapter.vector).save(out)
    return out


def draw(model: PictureModel, prompt: str, seed: int) -> np.ndarray:
    options = {"steps": STEPS, "guidance": GUIDANCE, "resolution": SIDE}
    picture = next(sample(model, [prompt], seeds=[seed], **options))  # type: ignore[arg-type]
    return np.asarray(picture.image).astype(int)


def test_plain_diffusers_draws_the_same_picture(
    family: str, base_of: Callable[[str], Path], in_float32: Loaded, trained: Path
) -> None:
    backbone = in_float32(family)
    pipe = plain_pipeline(base_of(family))
    pipe.load_lora_weights(trained)
    pipe.load_textual_inversion(trained)
    pipe.scheduler = scheduler_of(backbone, "ddim")
    theirs = pipe(
        PROMPT,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        height=SIDE,
        width=SIDE,
        generator=[torch.Generator().manual_seed(7)],
    ).images[0]
    model = PictureModel(backbone, Adapter.load(trained))
    ours = draw(model, PROMPT, 7)
    assert np.abs(ours - np.asarray(theirs).astype(int)).max() <= 2
    # The edit and the word both matter, or the comparison would say little.
    plain = draw(PictureModel(backbone), PROMPT.replace("<krk1> ", ""), 7)
    assert np.abs(ours - plain).mean() > 4
    assert model.adapter is not None
    other = replace(model.adapter, vector=torch.zeros_like(model.adapter.vector))
    assert np.abs(ours - draw(PictureModel(backbone, other), PROMPT, 7)).max() > 8
