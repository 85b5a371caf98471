"""Names of a CLIP text encoder's weights in checkpoints, to transformers' names."""

from __future__ import annotations

import re

from torch import Tensor

_TOP = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_IN_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")


def from_hugging_face(tensors: dict[str, Tensor], layers: int, inner: str) -> dict[str, Tensor]:
    """Stable Diffusion 1's encoder has transformers' names already, with or without text_model."""
    named = {inner + key.removeprefix("text_model."): tensor for key, tensor in tensors.items()}
    return {key: tensor for key, tensor in named.items() if not key.endswith("position_ids")}


def from_open_clip(tensors: dict[str, Tensor], layers: int, inner: str) -> dict[str, Tensor]:
    """OpenCLIP's names; its joint projection of queries, keys and values is cut in three.

    Args:
        tensors: by OpenCLIP's names.
        layers: that are read; Stable Diffusion 2 leaves out the last one that the file has.
        inner: what transformers puts before all names but the projection's.
    """
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if key in _TOP:
            found[inner + _TOP[key]] = tensor
        elif key == "text_projection" and inner:
            found["text_projection.weight"] = tensor.T.contiguous()
        elif (match := _LAYER.fullmatch(key)) and int(match[1]) < layers:
            place, name, kind = f"{inner}encoder.layers.{match[1]}.", match[2], match[3]
            if name == "attn.in_proj":
                for letter, third in zip("qkv", tensor.chunk(3), strict=True):
                    found[f"{place}self_attn.{letter}_proj.{kind}"] = third.contiguous()
            elif name in _IN_LAYER:
                found[f"{place}{_IN_LAYER[name]}.{kind}"] = tensor
    return found
