"""What holds for one family holds for each: the same door, the same exactness, the same mask."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from family_setting import (
    Loaded,
    family_run,
    model_of,
    moved,
    plain_pipeline,
    plain_prediction,
    random_adapter,
)
from textreg.config import Inversion, TextReg, Tuning
from textreg.sampling import PictureModel
from tiny_run import train

pytestmark = pytest.mark.thorough

PROMPTS = ["a photo of a cat", "", "the dog in a photo of ktn"]
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def noisy(seed: int, count: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x_t = torch.randn(count, 4, 16, 16, generator=random, dtype=torch.float64)
    return x_t, torch.randint(1000, (count,), generator=random)


def test_keys_and_values_from_outside_are_the_plain_denoiser(
    family: str, base_of: Callable[[str], Path], in_float64: Loaded
) -> None:
    """The pipeline's own text encoding and denoiser against ours, in float64."""
    pipe = plain_pipeline(base_of(family), torch.float64)
    x_t, t = noisy(0, len(PROMPTS))
    with torch.no_grad():
        plain = plain_prediction(pipe, PROMPTS, x_t, t)
    model = PictureModel(in_float64(family))
    torch.testing.assert_close(model.predict(x_t, t, model.conditioning(PROMPTS)), plain, **CLOSE)
    assert (plain[0] - plain[1]).norm() > 1e-6 * plain[0].norm()


def test_a_zero_edit_is_the_base_bit_by_bit(family: str, in_float64: Loaded) -> None:
    backbone = in_float64(family)
    x_t, t = noisy(1, len(PROMPTS))
    base = PictureModel(backbone)
    edited = PictureModel(backbone, random_adapter(backbone, size=0.0))
    assert edited.projections.edit is not None
    ours, theirs = (m.predict(x_t, t, m.conditioning(PROMPTS)) for m in (edited, base))
    assert torch.equal(ours, theirs)


def test_hard_mode_leaves_class_and_empty_prompt_exact(
    family: str,
    base_of: Callable[[str], Path],
    in_float64: Loaded,
    cat_pictures: Path,
    tmp_path: Path,
) -> None:
    run = family_run(
        base_of(family),
        tmp_path,
        cat_pictures,
        dtype="fp64",
        textreg=TextReg(hard=True, class_templates="one"),
        inversion=Inversion(steps=1),
        tuning=Tuning(steps=2, rank=2, learning_rate=0.05),
    )
    backbone = in_float64(family)
    adapter = train(run, backbone).adapters()[0]
    hard, base = PictureModel(backbone, adapter), PictureModel(backbone)
    x_t, t = noisy(2, 1)
    assert moved(hard, base, x_t, t, "a photo of a cat") < 1e-12
    assert moved(hard, base, x_t, t, "") < 1e-12
    assert moved(hard, base, x_t, t, "a photo of a <krk1> cat") > 1e-6


def test_the_mask_hides_the_identifier_from_all_but_its_noun(
    family: str, in_float64: Loaded
) -> None:
    """In every encoder: the identifier's row knows nothing else, rows before it nothing of it."""
    texts, words = model_of(in_float64(family))
    prompts = ["a photo of a <krk1> cat", "the dog of a <krk1> cat"]
    masked = [texts.features(prompts, word, masked=True) for word in words]
    plain = [texts.features(prompts, word) for word in words]
    where = 5  # behind the start token and four words
    # What stands before it does not reach it; unmasked it does.
    torch.testing.assert_close(masked[0][0, where], masked[0][1, where], **CLOSE)
    assert (plain[0][0, where] - plain[0][1, where]).norm() > 1e-6
    # Rows before it never know it; itself and the noun always do.
    for features in (masked, plain):
        assert torch.equal(features[0][:, :where], features[1][:, :where])
        changed = (features[0] - features[1]).norm(dim=-1)[:, where : where + 2]
        assert bool((changed > 1e-6).all())
    # Later rows hear of it through the noun alone: less than without a mask.
    later = [(f[0] - f[1])[:, where + 2 :].norm() for f in (masked, plain)]
    assert later[0] < later[1]


def test_prompts_without_the_identifier_are_not_masked(family: str, in_float64: Loaded) -> None:
    texts, words = model_of(in_float64(family))
    assert torch.equal(
        texts.features(["a photo of a cat"], words[0], masked=True),
        texts.features(["a photo of a cat"], None),
    )
