"""The files plain diffusers loads by folder (FORMATS 1, 4, 6), float32.

pytorch_lora_weights.safetensors: unet.P.lora_A.weight, unet.P.lora_B.weight, alpha = rank
learned_embeds.safetensors: {"<krk1>": [1, width]}

A gated edit has another file name, so that diffusers finds nothing there instead of loading an
edit that it would apply to every token.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from textreg.adapter import Adapter
from textreg.adapter.tensor_file import tensor_bytes
from textreg.checkpoint import publish
from textreg.errors import UserError

LORA_FILE = "pytorch_lora_weights.safetensors"
GATED_LORA_FILE = "gated_lora_weights.safetensors"
EMBEDDING_FILE = "learned_embeds.safetensors"


def write(adapter: Adapter, folder: Path) -> None:
    """Write both files, each whole or not at all; the LoRA file last."""
    about = {
        "textreg.identifier": adapter.identifier,
        "textreg.noun": adapter.noun,
        "textreg.property": adapter.learnable_property,
        "textreg.edited_tokens": adapter.edited_tokens,
        "textreg.run": adapter.digest,
    }
    vector = {adapter.identifier: adapter.vector[None].float().contiguous()}
    publish(folder / EMBEDDING_FILE, tensor_bytes(vector, {"format": "pt", **about}))
    # alpha = rank on disk, so that no reader has to know alpha: the rest of it goes into B.
    scale = adapter.alpha / adapter.rank
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in adapter.factors.items():
        tensors[f"unet.{name}.lora_A.weight"] = down.float().contiguous()
        tensors[f"unet.{name}.lora_B.weight"] = (scale * up).float().contiguous()
    name = LORA_FILE if adapter.edited_tokens == "all" else GATED_LORA_FILE
    publish(folder / name, tensor_bytes(tensors, {"format": "pt", **about}))


def lora_file(folder: Path) -> Path | None:
    """The folder's LoRA file, gated or not, if it has one."""
    found = [folder / name for name in (LORA_FILE, GATED_LORA_FILE) if (folder / name).is_file()]
    return found[0] if found else None


def read(folder: Path) -> Adapter:
    """Read both files back.

    Raises:
        UserError: a file is missing, damaged, or not of this form.
    """
    path = lora_file(folder) or folder / LORA_FILE
    lora, about = read_tensors(path)
    identifier, vector = read_embedding(folder / EMBEDDING_FILE)
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    for key in lora:
        if key.startswith("unet.") and key.endswith(".lora_A.weight"):
            name = key.removeprefix("unet.").removesuffix(".lora_A.weight")
            up = lora.get(f"unet.{name}.lora_B.weight")
            if up is None or up.ndim != 2 or lora[key].ndim != 2 or up.shape[1] != len(lora[key]):
                raise UserError(f"{path}: the pair of {name} does not fit together")
            factors[name] = (lora[key].float(), up.float())
    if not factors:
        raise UserError(f"{path}: has no unet.*.lora_A.weight; is it a LoRA?")
    rank = len(next(iter(factors.values()))[0])
    style = about.get("textreg.property") == "style"
    gated = about.get("textreg.edited_tokens") == "identifier"
    return Adapter(
        identifier=identifier,
        noun=about.get("textreg.noun", ""),
        learnable_property="style" if style else "object",
        vector=vector,
        factors=factors,
        alpha=float(rank),
        edited_tokens="identifier" if gated else "all",
        digest=about.get("textreg.run", ""),
    )


def read_embedding(path: Path) -> tuple[str, Tensor]:
    """The one word of a textual-inversion file or a legacy file, and its vector, [width] float32.

    Raises:
        UserError: the file is damaged or does not hold exactly one word with one vector.
    """
    tensors, about = read_tensors(path)
    # A legacy file holds a LoRA as well and marks its words; others hold nothing but the word.
    words = [name for name in tensors if about.get(name) == "<embed>"] or list(tensors)
    if len(words) != 1 or tensors[words[0]].numel() != max(tensors[words[0]].shape, default=0):
        raise UserError(f"{path}: must hold one word with one vector, and holds {len(words)}")
    return words[0], tensors[words[0]].flatten().float()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file, checked for finite numbers.

    Raises:
        UserError: it is missing, damaged, or holds NaN.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{path}: {json.dumps(name)} holds numbers that are not finite")
    return tensors, metadata
