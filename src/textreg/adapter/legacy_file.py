"""The original's single file (FORMATS 3): cloneofsimo form, no names, numbered in module order.

unet:{i}:up [out, r], unet:{i}:down [r, width], fp16, i over K, V of every layer in module order
(down, up, mid); text_encoder:{j}:up and :down, up all zero; the identifier's vector by its name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from textreg.adapter import Adapter
from textreg.adapter.diffusers_files import read_tensors
from textreg.checkpoint import publish
from textreg.errors import UserError

_TEXT_PROJECTIONS = 4
"""k, v, q, out of each text-encoder layer."""


def write(adapter: Adapter, path: Path, *, text_layers: int) -> None:
    """Write a file that the original's own loader reads.

    Args:
        adapter: what to write; alpha is folded into B.
        path: the file.
        text_layers: layers of the base's text encoder; the original always saves a LoRA of it,
            here as there with B = 0.
    """
    scale = adapter.alpha / adapter.rank
    metadata = {
        "unet": json.dumps(["BasicTransformerBlock"]),
        "text_encoder": json.dumps(["CLIPAttention"]),
    }
    tensors: dict[str, Tensor] = {}
    for i, (down, up) in enumerate(adapter.factors.values()):
        tensors[f"unet:{i}:up"] = (scale * up).half().contiguous()
        tensors[f"unet:{i}:down"] = down.half().contiguous()
        metadata[f"unet:{i}:rank"] = str(adapter.rank)
    width = adapter.vector.shape[0]
    for j in range(_TEXT_PROJECTIONS * text_layers):
        tensors[f"text_encoder:{j}:up"] = torch.zeros(width, adapter.rank, dtype=torch.half)
        tensors[f"text_encoder:{j}:down"] = torch.zeros(adapter.rank, width, dtype=torch.half)
        metadata[f"text_encoder:{j}:rank"] = str(adapter.rank)
    tensors[adapter.identifier] = adapter.vector[None].float().contiguous()
    metadata[adapter.identifier] = "<embed>"
    metadata |= {
        "textreg.noun": adapter.noun,
        "textreg.property": adapter.learnable_property,
        "textreg.run": adapter.digest,
    }
    publish(path, save(tensors, metadata))


def read(path: Path) -> Adapter:
    """Read such a file; its projections are numbered, not named, until `named` names them.

    Raises:
        UserError: it is not of this form, or trains the text encoder.
    """
    tensors, about = read_tensors(path)
    identifiers = [k for k, v in about.items() if v == "<embed>" and k in tensors]
    if not any(k.startswith("unet:") for k in tensors) or len(identifiers) != 1:
        raise UserError(
            f"{path}: not a legacy adapter (unet:0:up ... and one token); "
            "give the run's folder for other formats"
        )
    if any(
        k.startswith("text_encoder:") and k.endswith(":up") and bool(v.any())
        for k, v in tensors.items()
    ):
        raise UserError(f"{path}: also edits the text encoder, which is not supported")
    count = sum(k.startswith("unet:") and k.endswith(":up") for k in tensors)
    try:
        pairs = [
            (tensors[f"unet:{i}:down"].float(), tensors[f"unet:{i}:up"].float())
            for i in range(count)
        ]
    except KeyError as error:
        raise UserError(f"{path}: {error} is missing; the file is incomplete") from None
    return Adapter(
        identifier=identifiers[0],
        noun=about.get("textreg.noun", ""),
        learnable_property="style" if about.get("textreg.property") == "style" else "object",
        vector=tensors[identifiers[0]].flatten().float(),
        factors={str(i): pair for i, pair in enumerate(pairs)},
        alpha=float(len(pairs[0][0])),
        digest=about.get("textreg.run", ""),
    )


def named(adapter: Adapter, names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Factors by projection name; numbered ones get the base's names in module order.

    Raises:
        UserError: their number is not the base's.
    """
    if all(key.isdigit() for key in adapter.factors):
        if len(adapter.factors) != len(names):
            raise UserError(
                f"this adapter edits {len(adapter.factors)} projections, the base has {len(names)}: "
                "it belongs to another base"
            )
        return dict(zip(names, adapter.factors.values(), strict=True))
    return adapter.factors
