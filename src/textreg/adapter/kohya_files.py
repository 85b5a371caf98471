"""The LoRA file of A1111, Forge, ComfyUI and kohya's own tools (FORMATS 1, 5).

webui/krk1_lora.safetensors: lora_unet_P_.lora_down.weight, .lora_up.weight, .alpha = rank, the same
of lora_te_(...) where the text encoder is edited; ss_*, modelspec.* and textreg.* in the metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from textreg.adapter import Adapter
from textreg.adapter.about import Facts, kohya_entries, modelspec_entries, ours
from textreg.adapter.lora_keys import KOHYA, KOHYA_XL
from textreg.adapter.tensor_file import content, stored, tensor_bytes


def lora_bytes(
    adapter: Adapter,
    facts: Facts,
    *,
    name: str,
    words: str,
    dtype: torch.dtype,
    beside: Mapping[str, Tensor] | None = None,
) -> bytes:
    """The file's bytes.

    Args:
        adapter: what to write; all of its projections are named.
        facts: how it was trained.
        name: of the file, without ending.
        words: what people type there.
        dtype: of A and B; alpha is float32.
        beside: further tensors.
    """
    scale = adapter.alpha / adapter.rank
    form = KOHYA_XL if adapter.second_width else KOHYA
    tensors: dict[str, Tensor] = dict(beside or {})
    for projection, (down, up) in adapter.factors.items():
        tensors[form.key(projection, "down")] = stored(down, dtype)
        tensors[form.key(projection, "up")] = stored(scale * up, dtype)
        tensors[form.key(projection, "alpha")] = torch.tensor(float(len(down)))
    training = kohya_entries(adapter, facts, name, words)
    # Its tools take both hashes of the file with nothing but ss_* in its metadata.
    plain = tensor_bytes(tensors, training)
    data = content(plain)
    hashes = {
        "sshs_model_hash": hashlib.sha256(data).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(plain[0x100000:0x110000]).hexdigest()[:8],
    }
    spec = modelspec_entries(adapter, facts, "lora", words, data)
    about = {"format": "pt", **ours(adapter), **dict(facts.more)}
    return tensor_bytes(tensors, training | hashes | spec | about)
