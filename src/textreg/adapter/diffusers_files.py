"""The files plain diffusers loads by folder (FORMATS 1, 4, 6).

pytorch_lora_weights.safetensors: unet.P.lora_A.weight, unet.P.lora_B.weight, alpha = rank; the same
    of text_encoder.(...) and text_encoder_2.(...), where they are edited
learned_embeds.safetensors: {"<krk1>": [vectors, width]}, of Stable Diffusion XL {"clip_l":
    [vectors, 768], "clip_g": [vectors, 1280]}, float32 always

A gated edit has another file name, so that diffusers finds nothing there instead of loading an
edit that it would apply to every token.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from textreg.adapter import Adapter
from textreg.adapter.about import ours
from textreg.adapter.lora_keys import DIFFUSERS
from textreg.adapter.tensor_file import stored, tensor_bytes
from textreg.method.encoder_edit import text_names

LORA_FILE = "pytorch_lora_weights.safetensors"
GATED_LORA_FILE = "gated_lora_weights.safetensors"
EMBEDDING_FILE = "learned_embeds.safetensors"


def files(adapter: Adapter, dtype: torch.dtype = torch.float32) -> dict[str, bytes]:
    """Both files' bytes by name, the LoRA file last: with it the adapter is there.

    Args:
        adapter: what to write; all of its projections are named.
        dtype: of A and B.
    """
    about = {"format": "pt", **ours(adapter)}
    word = {
        key: stored(vector, torch.float32)
        for key, vector in adapter.word_tensors(adapter.identifier).items()
    }
    # alpha = rank on disk, so that no reader has to know alpha: the rest of it goes into B.
    scale = adapter.alpha / adapter.rank
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in adapter.factors.items():
        tensors[DIFFUSERS.key(name, "down")] = stored(down, dtype)
        tensors[DIFFUSERS.key(name, "up")] = stored(scale * up, dtype)
    lora = about | {"lora_adapter_metadata": json.dumps(_settings(adapter))}
    name = LORA_FILE if adapter.edited_tokens == "all" else GATED_LORA_FILE
    return {EMBEDDING_FILE: tensor_bytes(word, about), name: tensor_bytes(tensors, lora)}


def _settings(adapter: Adapter) -> dict[str, Any]:
    """What peft is told of each part that is edited."""
    text = text_names(adapter.factors)
    settings: dict[str, Any] = {
        "unet.r": adapter.rank,
        "unet.lora_alpha": adapter.rank,
        "unet.target_modules": sorted(adapter.factors.keys() - set(text)),
    }
    for encoder in dict.fromkeys(name.partition(".")[0] for name in text):
        # Ends of names: what stands before them depends on the version of transformers.
        ends = {name.rpartition(".")[2] for name in text}
        settings |= {
            f"{encoder}.r": adapter.encoder_rank,
            f"{encoder}.lora_alpha": adapter.encoder_rank,
            f"{encoder}.target_modules": sorted(ends),
        }
    return settings


def load_pair(adapter: Adapter, place: str) -> str:
    """What to type in Python to load the word of two text encoders from a folder.

    Without the last line, transformers takes the newest word for the end of a prompt, as its id is
    the largest, wherever the published configuration (eos_token_id 2) stands.
    """
    word = repr(adapter.identifier)
    return (
        f'word = safetensors.torch.load_file("{place}/{EMBEDDING_FILE}")\n'
        f'pipe.load_textual_inversion(word["clip_l"], token={word}, '
        "text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer)\n"
        f'pipe.load_textual_inversion(word["clip_g"], token={word}, '
        "text_encoder=pipe.text_encoder_2, tokenizer=pipe.tokenizer_2)\n"
        "pipe.text_encoder_2.text_model.eos_token_id = pipe.tokenizer_2.eos_token_id"
    )
