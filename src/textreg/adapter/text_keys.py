"""The names under which LoRA files keep A and B of a text encoder's attention (FORMATS 1).

For text_encoder.text_model.encoder.layers.0.self_attn.q_proj, which is our own name:

    diffusers          text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight
    diffusers, older   ... .lora.down.weight, .lora_linear_layer.down.weight
    kohya              lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight, .alpha

The second of Stable Diffusion XL is text_encoder_2 and lora_te2, its first lora_te1 in kohya's
form, which some programs also write for a base with one. `text_model.` may be missing.
"""

from __future__ import annotations

import re
from typing import Literal

Part = Literal["down", "up", "alpha"]

_DOTS = re.compile(
    r"text_encoder(?P<second>_2)?\.(?:text_model\.)?encoder\.layers\.(?P<layer>\d+)\.self_attn\."
    r"(?P<to>[qkv]|out)_proj\.(?P<part>lora_A|lora_B|(?:lora|lora_linear_layer)\.(?:down|up))\.weight"
)
_KOHYA = re.compile(
    r"lora_te(?:1?|(?P<second>2))_text_model_encoder_layers_(?P<layer>\d+)_self_attn_"
    r"(?P<to>[qkv]|out)_proj\.(?P<part>lora_down\.weight|lora_up\.weight|alpha)"
)


def parse_text(key: str) -> tuple[str, Part] | None:
    """The projection and part that a key names; none if it is not a text encoder's."""
    match = _DOTS.fullmatch(key) or _KOHYA.fullmatch(key)
    if match is None:
        return None
    encoder = "text_encoder_2" if match["second"] else "text_encoder"
    name = f"{encoder}.text_model.encoder.layers.{match['layer']}.self_attn.{match['to']}_proj"
    if match["part"] == "alpha":
        return name, "alpha"
    return name, "down" if "down" in match["part"] or "_A" in match["part"] else "up"
