"""What web interfaces want beside the LoRA file: the word, the notes, the picture (FORMATS 4-6).

webui/krk1.safetensors: {"emb_params": [vectors, width]}, of Stable Diffusion XL clip_l and clip_g;
    its name is the word people type
webui/krk1_lora.json: the notes that A1111 and Forge show
webui/krk1_lora.preview.png: the picture they show
webui/krk1_bundle.safetensors: for A1111 alone, the LoRA with the word inside
"""

from __future__ import annotations

import json
import re

import torch
from torch import Tensor

from textreg.adapter import Adapter
from textreg.adapter.about import Facts, modelspec_entries, ours
from textreg.adapter.lora_factors import BUNDLED
from textreg.adapter.tensor_file import content, stored, tensor_bytes

_VERSIONS = {768: "SD1", 1024: "SD2"}
_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d")


def word_name(identifier: str) -> str:
    """The identifier as a file's name, legal everywhere: <krk1> is krk1."""
    name = re.sub(r"[^\w-]+", "_", identifier).strip("_-") or "concept"
    return f"{name}_" if _RESERVED.fullmatch(name) else name


def webui_words(adapter: Adapter) -> str:
    """What a prompt there must contain: krk1 cat."""
    return f"{word_name(adapter.identifier)} {adapter.noun}".strip()


def webui_prompt(adapter: Adapter, word: str) -> str:
    """The concept's prompt with the word as a program knows it."""
    return adapter.prompt.replace(adapter.identifier, word).strip()


def embedding_bytes(adapter: Adapter, facts: Facts) -> bytes:
    """The word's file, float32 always: it is small."""
    tensors = {
        key: stored(vector, torch.float32)
        for key, vector in adapter.word_tensors("emb_params").items()
    }
    data = content(tensor_bytes(tensors, {}))
    spec = modelspec_entries(adapter, facts, "textual-inversion", webui_words(adapter), data)
    return tensor_bytes(tensors, {"format": "pt", **spec, **ours(adapter), **dict(facts.more)})


def bundled_word(adapter: Adapter) -> dict[str, Tensor]:
    """The word as A1111 finds it within a LoRA file, float32: bundle_emb.krk1.string_to_param.*."""
    place = f"{BUNDLED}{word_name(adapter.identifier)}."
    return {
        place + key: stored(vector, torch.float32)
        for key, vector in adapter.word_tensors("string_to_param.*").items()
    }


def notes_bytes(adapter: Adapter, facts: Facts) -> bytes:
    """The sidecar."""
    word = word_name(adapter.identifier)
    version = "SDXL" if adapter.second_width else _VERSIONS.get(adapter.width, "Unknown")
    notes = {
        "description": f"{adapter.noun}, learned with textreg on {facts.base}",
        "sd version": version,
        "activation text": webui_words(adapter),
        "preferred weight": 1.0,
        "negative text": "",
        "notes": f"Needs {word}.safetensors among the embeddings: it is the word {word!r}.",
    }
    return json.dumps(notes, indent=2, ensure_ascii=False).encode()
