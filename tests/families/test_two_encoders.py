"""What Stable Diffusion XL has beside the others: a second encoder, a pooled vector, sizes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from family_setting import Loaded, family_run, model_of, plain_pipeline, random_adapter
from textreg.adapter import Adapter
from textreg.adapter.about import Facts
from textreg.adapter.export import export
from textreg.adapter.reading import Told
from textreg.backbone import load
from textreg.config import Inversion, Tuning
from textreg.errors import UserError
from textreg.evaluate.identifier_drift import leakage
from textreg.importing import import_file
from textreg.legacy import train as legacy_train
from textreg.sampling import PictureModel, sample, scheduler_of
from tiny_run import assert_same_edit, results, train, train_some

pytestmark = pytest.mark.thorough

XL = "tiny-sdxl"
FIRST = 32
"""Width of the first encoder."""
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
FEW: dict[str, Any] = {"inversion": Inversion(steps=1), "tuning": Tuning(steps=2, rank=2)}


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


def test_stage_1_learns_a_vector_for_each_encoder_and_holds_both_norms(
    base_of: Callable[[str], Path], in_float64: Loaded, cat_pictures: Path, tmp_path: Path
) -> None:
    backbone = in_float64(XL)
    only = Tuning(steps=0, rank=2)
    run = family_run(base_of(XL), tmp_path, cat_pictures, dtype="fp64", tuning=only)
    tables = backbone.word_tables
    before = [t.clone() for t in tables]
    vector = train(run, backbone).adapters()[0].vector
    token = backbone.tokenizer.get_vocab()["ktn</w>"]
    assert [t.shape[1] for t in tables] == [FIRST, backbone.second_width]
    for learned, table, kept in zip(
        vector.split([FIRST, backbone.second_width]), tables, before, strict=True
    ):
        first = table[token].double()
        assert (learned - first).norm() > 1e-5
        # Pulled to its own first norm, not to that of both together.
        assert abs(learned.norm() - first.norm()) < 0.5 * (learned - first).norm()
        assert torch.equal(table, kept)


@pytest.mark.parametrize(
    "prior", ["textreg+output-preservation", pytest.param("gated", marks=pytest.mark.slow)]
)
def test_two_concepts_train_as_each_alone_and_a_stopped_run_goes_on(
    prior: str,
    base_of: Callable[[str], Path],
    in_float64: Loaded,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
) -> None:
    """Pooled vectors and sizes go with their own samples."""
    backbone, base = in_float64(XL), base_of(XL)
    options = {"dtype": "fp64", "prior": prior, **FEW}
    both = family_run(base, tmp_path / "both", cat_pictures, dog_pictures, **options)
    together = train(both, backbone).adapters()
    # The second one's identifier is the second of the list.
    alone = replace(both, concepts=both.concepts[1:], out=tmp_path / "alone")
    (single,) = train(alone, backbone).adapters()
    torch.testing.assert_close(single.vector, together[1].vector, **CLOSE)
    assert_same_edit(together[1], single, **CLOSE)
    resumed = replace(alone, out=tmp_path / "resumed")
    train_some(resumed, backbone, 2)
    train(resumed, backbone)
    assert results(resumed.out) == results(alone.out)


def test_a_web_interfaces_file_becomes_a_run_and_the_original_has_none(
    base_of: Callable[[str], Path], in_float32: Loaded, tmp_path: Path
) -> None:
    adapter = random_adapter(in_float32(XL), size=1.0)
    with pytest.raises(UserError, match=r"--to legacy.*no Stable Diffusion XL"):
        export(adapter, tmp_path / "x", ("legacy",), Facts(base="a base"))
    export(adapter, tmp_path / "files", ("a1111",), Facts(base="a base"))
    file = tmp_path / "files" / "webui" / "krk1_lora.safetensors"
    _, form = import_file(file, tmp_path / "run", Told(), base=str(base_of(XL)))
    assert form == "kohya, XL"
    again = Adapter.load(tmp_path / "run")
    assert again.vector.equal(adapter.vector)
    assert again.second_width == adapter.second_width
    assert all(torch.equal(again.factors[n][1], up) for n, (_, up) in adapter.factors.items())


def _add(file: Path, settings: dict[str, Any]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


@pytest.mark.parametrize(
    ("file", "settings", "why"),
    [
        ("model_index.json", {"text_encoder": [None, None]}, "its text_encoder is None"),
        ("unet/config.json", {"addition_embed_type": None}, "addition_embed_type None in place of"),
        ("unet/config.json", {"addition_time_embed_dim": 16}, "six sizes.*refiner"),
        ("tokenizer_2/tokenizer_config.json", {"model_max_length": 20}, "read text differently"),
    ],
)
def test_what_only_looks_like_it_is_refused(
    file: str, settings: dict[str, Any], why: str, base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    base = shutil.copytree(base_of(XL), tmp_path / "base")
    _add(base / file, settings)
    with pytest.raises(UserError, match=why):
        load(str(base), device="cpu")


def test_a_stable_diffusion_1_that_claims_sizes_is_refused(
    base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    base = shutil.copytree(base_of("tiny-sd1"), tmp_path / "base")
    _add(base / "unet" / "config.json", {"addition_embed_type": "text_time"})
    with pytest.raises(UserError, match="addition_embed_type text_time in place of None"):
        load(str(base), device="cpu")


def test_leakage_and_attention_are_measured_over_both_encoders(in_float64: Loaded) -> None:
    backbone = in_float64(XL)
    model = PictureModel(backbone, random_adapter(backbone, size=1.0))
    prompts = ["a photo of a <krk1> cat in the dog"]
    masked, plain = (leakage(model, prompts, masked=m, seed=0) for m in (True, False))
    assert masked.attention == [0.0]
    assert plain.attention[0] > 0
    assert masked.change[0] < plain.change[0]


def test_the_originals_command_says_at_once_that_it_knows_none(
    base_of: Callable[[str], Path],
    cat_pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = {
        "pretrained_model_name_or_path": base_of(XL),
        "instance_data_dir": cat_pictures,
        "output_dir": tmp_path / "out",
        "placeholder_token": "<krk1>",
        "class_tokens": "cat",
        "learnable_property": "object",
        "max_train_steps": 2,
        "ti_train_step": 1,
        "filter_crossattn_str": "cross",
    }
    assert legacy_train.main([f"--{name}={value}" for name, value in words.items()]) == 2
    assert "know no Stable Diffusion XL" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
