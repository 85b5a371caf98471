"""What Stable Diffusion XL has beside the others: a second encoder, a pooled vector, sizes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from family_setting import Loaded, model_of, plain_pipeline, random_adapter
from textreg.sampling import PictureModel, sample, scheduler_of

XL = "tiny-sdxl"
FIRST = 32
"""Width of the first encoder."""
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def test_the_pooled_vector_is_the_true_end_tokens(
    base_of: Callable[[str], Path], in_float64: Loaded
) -> None:
    """Against transformers told which token ends a prompt; by the largest id it takes the word."""
    backbone = in_float64(XL)
    texts, words = model_of(backbone)
    prompt = "a photo of a <krk1> cat in the dog"
    ours = texts.encoded([prompt], words[0])
    pipe = plain_pipeline(base_of(XL), torch.float64)
    for part, word in zip(("", "_2"), words[0].split([FIRST, len(words[0]) - FIRST]), strict=True):
        pipe.load_textual_inversion(
            {"<krk1>": word[None]},
            text_encoder=getattr(pipe, f"text_encoder{part}"),
            tokenizer=getattr(pipe, f"tokenizer{part}"),
        )
    given = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    _, _, by_largest, _ = pipe.encode_prompt(prompt, **given)
    pipe.text_encoder_2.text_model.eos_token_id = pipe.tokenizer_2.eos_token_id
    tokens, _, pooled, _ = pipe.encode_prompt(prompt, **given)
    torch.testing.assert_close(ours.tokens, tokens, **CLOSE)
    torch.testing.assert_close(ours.pooled, pooled, **CLOSE)
    assert (by_largest - pooled).norm() > 0.1 * pooled.norm()


def test_the_second_encoder_reads_zeros_behind_the_end(in_float64: Loaded) -> None:
    pair = in_float64(XL).pair
    assert pair is not None
    assert pair.padding == (pair.end, 0)


def test_the_mask_is_in_both_encoders(in_float64: Loaded) -> None:
    """The word's row knows nothing before it, and rows before it nothing of it: in each half."""
    texts, words = model_of(in_float64(XL))
    prompts = ["a photo of a <krk1> cat", "the dog of a <krk1> cat"]
    masked, plain = (
        texts.encoded(prompts, words[0], masked=masked).tokens[:, 5] for masked in (True, False)
    )
    for half in (slice(None, FIRST), slice(FIRST, None)):
        torch.testing.assert_close(masked[0, half], masked[1, half], **CLOSE)
        assert (plain[0, half] - plain[1, half]).norm() > 1e-6


def test_the_pooled_vector_of_a_class_prompt_is_the_bases(in_float64: Loaded) -> None:
    """However large edit and word are, as the prompt has no identifier."""
    backbone = in_float64(XL)
    tuned, base = PictureModel(backbone, random_adapter(backbone, size=9.0)), PictureModel(backbone)
    for prompt in ("a photo of a cat", ""):
        pooled = [m.conditioning([prompt]).pooled for m in (tuned, base)]
        assert pooled[0] is not None
        assert pooled[1] is not None
        assert torch.equal(pooled[0], pooled[1])


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)
@pytest.mark.parametrize("negative", ["", "the dog"])
def test_plain_diffusers_draws_the_bases_picture(
    base_of: Callable[[str], Path], in_float32: Loaded, negative: str
) -> None:
    """Without a negative prompt it guides away from zeros, with one from its text."""
    backbone = in_float32(XL)
    pipe = plain_pipeline(base_of(XL))
    pipe.scheduler = scheduler_of(backbone, "ddim")
    theirs = pipe(
        "a photo of a cat",
        negative_prompt=negative or None,
        num_inference_steps=3,
        guidance_scale=5.0,
        height=32,
        width=32,
        generator=[torch.Generator().manual_seed(7)],
    ).images[0]
    drawn = sample(
        PictureModel(backbone),
        ["a photo of a cat"],
        seeds=[7],
        steps=3,
        negative_prompt=negative,
        resolution=32,
    )
    ours = np.asarray(next(drawn).image).astype(int)
    assert np.abs(ours - np.asarray(theirs).astype(int)).max() <= 2
