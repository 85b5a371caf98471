"""The embedded base is a Stable Diffusion folder like any other."""

from __future__ import annotations

import torch
from diffusers import StableDiffusionPipeline

from textreg.toyland import path
from textreg.toyland.captions import RARE_WORDS
from textreg.toyland.scoring import draw_samples, load_pipeline


def test_folder_is_small_and_free_of_pickles():
    files = [file for file in path().rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".md", ".yaml"}
    assert max(file.stat().st_size for file in files) <= 16 * 2**20
    assert sum(file.stat().st_size for file in files) <= 24 * 2**20


def test_loads_in_plain_diffusers_and_draws():
    pipeline = StableDiffusionPipeline.from_pretrained(str(path()), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert {next(part.parameters()).dtype for part in (pipeline.unet, pipeline.vae)} == {
        next(pipeline.text_encoder.parameters()).dtype
    }
    assert pipeline("a photo of a cat", num_inference_steps=2).images[0].size == (64, 64)


def test_rare_words_are_single_tokens():
    tokenizer = load_pipeline(path()).tokenizer
    assert all(len(tokenizer.tokenize(word)) == 1 for word in (*RARE_WORDS, "cat", "jungle"))
    assert tokenizer.model_max_length == 32


def test_a_sample_depends_on_its_prompt_and_seed_only():
    pipeline = load_pipeline(path())
    together = draw_samples(pipeline, ["a red cat", "a blue clock"], seed=4, steps=2)
    alone = draw_samples(pipeline, ["a blue clock"], seed=5, steps=2)
    torch.testing.assert_close(together[1], alone[0], atol=1e-4, rtol=1e-4)
