"""Every form's names, exactly as its program writes them (FORMATS 1)."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from sd15_adapter import sd15_names

from textreg.adapter.lora_keys import FORMS, KOHYA_XL, KeyForm, parse
from textreg.base_configs import CONFIGS
from textreg.method.text_projections import TextProjections

PLACE = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
JOINED = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
OLDEST = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k"
KEYS = {
    "diffusers": (f"unet.{PLACE}.lora_A.weight", f"unet.{PLACE}.lora_B.weight"),
    "diffusers, older": (f"unet.{PLACE}.lora.down.weight", f"unet.{PLACE}.lora.up.weight"),
    "diffusers, oldest": (f"unet.{OLDEST}_lora.down.weight", f"unet.{OLDEST}_lora.up.weight"),
    "attention processors": (f"{OLDEST}_lora.down.weight", f"{OLDEST}_lora.up.weight"),
    "kohya": (f"lora_unet_{JOINED}.lora_down.weight", f"lora_unet_{JOINED}.lora_up.weight"),
    "kohya, XL": (
        "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k.lora_down.weight",
        "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k.lora_up.weight",
    ),
    "PEFT": (
        f"base_model.model.{PLACE}.lora_A.weight",
        f"base_model.model.{PLACE}.lora_B.weight",
    ),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_keys_are_the_programs_own(form: KeyForm) -> None:
    assert (form.key(PLACE, "down"), form.key(PLACE, "up")) == KEYS[form.name]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_all_32_names_are_found_again(form: KeyForm) -> None:
    names = sd15_names()
    keys = {form.key(name, part): (name, part) for name in names for part in ("down", "up")}
    assert len(keys) == 64
    assert {key: parse(key) for key in keys} == {key: (form, *place) for key, place in keys.items()}


def test_two_digits_and_the_middle_are_joined_and_split() -> None:
    kohya = next(form for form in FORMS if form.name == "kohya")
    for name in (
        "up_blocks.11.attentions.10.transformer_blocks.12.attn2.to_v",
        "mid_block.attentions.0.transformer_blocks.9.attn2.to_k",
    ):
        assert kohya.parse(kohya.key(name, "alpha")) == (name, "alpha")


def test_stable_diffusion_xls_140_names_have_the_originals_numbers() -> None:
    """At its true size, by the packaged configuration; against the original's own modules."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(
            UNet2DConditionModel.load_config(CONFIGS / "sdxl" / "unet")
        )
        names = TextProjections.from_denoiser(unet).names
    assert len(names) == 140
    keys = {KOHYA_XL.key(name, "down"): name for name in names}
    assert {key: parse(key) for key in keys} == {
        key: (KOHYA_XL, name, "down") for key, name in keys.items()
    }
    # Each block's layers, each layer's depth.
    places = [("input_blocks_4_1", 2), ("input_blocks_5_1", 2), ("middle_block_1", 10)]
    places += [(f"input_blocks_{n}_1", 10) for n in (7, 8)]
    places += [(f"output_blocks_{n}_1", 10) for n in (0, 1, 2)]
    places += [(f"output_blocks_{n}_1", 2) for n in (3, 4, 5)]
    assert keys.keys() == {
        f"lora_unet_{place}_transformer_blocks_{n}_attn2_to_{kind}.lora_down.weight"
        for place, depth in places
        for n in range(depth)
        for kind in "kv"
    }
    first = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    assert KOHYA_XL.module(first) == "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    "key",
    [
        PLACE,
        f"unet.{PLACE}.weight",
        f"unet.{PLACE.replace('attn2', 'attn3')}.lora_A.weight",
        f"unet.{PLACE.replace('attn2.to_k', 'ff.net.2')}.lora_A.weight",
        f"unet.{PLACE.replace('to_k', 'to_out')}.lora_A.weight",
        f"unet.{OLDEST.replace('to_k', 'to_out.0')}_lora.down.weight",
        f"unet.{OLDEST}.lora_A.weight",
        f"unet.x.{PLACE}.lora_A.weight",
        f"lora_unet_{PLACE}.lora_down.weight",
        "lora_unet_input_blocks_1_0_transformer_blocks_0_attn2_to_k.lora_down.weight",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
        "",
    ],
)
def test_anything_else_is_no_projection_of_ours(key: str) -> None:
    assert parse(key) is None
