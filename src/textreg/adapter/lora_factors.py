"""A and B of every attention projection, out of a file of any form that lora_keys.py knows.

alpha = rank afterwards: whatever scale a file has is multiplied into B, in float64, and rounded
once; a scale of 1 changes nothing. Projections of fewer ranks than the largest get rows of zeros,
the denoiser's and the text encoders' each among their own.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textreg.adapter.lora_keys import PEFT, KeyForm, parse
from textreg.adapter.text_keys import Part, parse_text
from textreg.errors import UserError
from textreg.file_kinds import shown

Factors = dict[str, tuple[Tensor, Tensor]]
BUNDLED = "bundle_emb."
"""A1111's words inside a LoRA file."""
_UP = re.compile(r"lora[._]up\.weight$|lora_B\.weight$|lora_linear_layer\.up\.weight$")
_HALF = re.compile(
    r"(\.|_)lora[._]down\.weight$|\.lora_A\.weight$|\.lora_linear_layer\.down\.weight$|\.alpha$"
)
_PEFT_CONFIG = "adapter_config.json"
_MOST_CONFIG = 1 << 20


def read_factors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> tuple[Factors, str]:
    """Factors by projection name, float32, the denoiser's first; and the form's name.

    Args:
        path: the file, for messages; PEFT's settings lie beside it.
        tensors: what it holds.
        metadata: its metadata.

    Raises:
        UserError: it edits something else as well, a pair does not fit, or its scale is not told.
    """
    found: dict[str, dict[Part, Tensor]] = {}
    text: dict[str, dict[Part, Tensor]] = {}
    forms: set[KeyForm] = set()
    for key, tensor in tensors.items():
        group = found
        if place := parse(key):
            form, name, part = place
            forms.add(form)
        elif read := parse_text(key):
            name, part = read
            group = text
        else:
            _refuse_unless_dead(path, key, tensor)
            continue
        if part in group.setdefault(name, {}):
            raise UserError(f"{path}: edits {name} twice")
        group[name][part] = tensor
    if not found:
        raise UserError(
            f"{path}: has no edit of an attention projection that textreg knows by name "
            "(docs/formats.md lists the names); is it a LoRA of Stable Diffusion?"
        )
    if len(forms) > 1:
        names = " and ".join(sorted(form.name for form in forms))
        raise UserError(f"{path}: mixes the names of {names}; a file has one kind")
    form = forms.pop()
    factors = _group(path, found, _alpha(path, form, metadata))
    # Without any B there is no edit, whatever A and alpha are.
    if any(bool(parts["up"].any()) for parts in text.values() if "up" in parts):
        for encoder in dict.fromkeys(name.partition(".")[0] for name in text):
            own = {name: parts for name, parts in text.items() if name.startswith(f"{encoder}.")}
            factors |= _group(path, own, _told(path, metadata, f"{encoder}."))
        factors |= _of_one_rank({name: factors[name] for name in text})
    return factors, form.name


def _group(path: Path, found: dict[str, dict[Part, Tensor]], alpha: float | None) -> Factors:
    """Whole pairs, all of one rank."""
    return _of_one_rank({name: _pair(path, name, own, alpha) for name, own in found.items()})


def _of_one_rank(pairs: Factors) -> Factors:
    rank = max(len(down) for down, _ in pairs.values())
    return {name: _padded(*pair, rank) for name, pair in pairs.items()}


def _refuse_unless_dead(path: Path, key: str, tensor: Tensor) -> None:
    """Pass what changes nothing: B = 0, and the A and alpha that belong to some B."""
    if key.startswith(BUNDLED) or _HALF.search(key) or (_UP.search(key) and not tensor.any()):
        return
    raise UserError(
        f"{path}: also holds {shown(key)}; textreg takes edits of the denoiser's attention "
        "(to_q, to_k, to_v, to_out.0 of attn1 and attn2), of a text encoder's attention beside it, "
        "and nothing else"
    )


def _pair(
    path: Path, name: str, parts: dict[Part, Tensor], alpha: float | None
) -> tuple[Tensor, Tensor]:
    if "down" not in parts or "up" not in parts:
        raise UserError(f"{path}: the pair of {name} does not fit together: half of it is missing")
    down, up = parts["down"], parts["up"]
    if down.ndim != 2 or up.ndim != 2 or up.shape[1] != len(down) or not len(down):
        raise UserError(f"{path}: the pair of {name} does not fit together")
    if "alpha" in parts:
        if parts["alpha"].numel() != 1:
            raise UserError(f"{path}: the alpha of {name} is not one number")
        alpha = float(parts["alpha"])
    scale = 1.0 if alpha is None else alpha / len(down)
    up = up.float() if scale == 1 else (scale * up.double()).float()
    return down.float(), up


def _padded(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The same product at a larger rank."""
    more = rank - len(down)
    if not more:
        return down, up
    pad = torch.nn.functional.pad
    return pad(down, (0, 0, 0, more)), pad(up, (0, more))


def _alpha(path: Path, form: KeyForm, metadata: dict[str, str]) -> float | None:
    """The alpha that stands outside the tensors; none: it is the rank, or stands among them."""
    if form is PEFT:
        return _of_config(path.with_name(_PEFT_CONFIG), _read_config(path))
    return _told(path, metadata, "unet.")


def _told(path: Path, metadata: dict[str, str], part: str) -> float | None:
    """The alpha that diffusers' metadata has for a part, "unet." or "text_encoder."."""
    if text := metadata.get("lora_adapter_metadata"):
        try:
            config = json.loads(text)
        except (ValueError, RecursionError):
            config = None
        if not isinstance(config, dict):
            raise UserError(f"{path}: its lora_adapter_metadata is not a JSON object")
        return _of_config(path, {key.removeprefix(part): value for key, value in config.items()})
    return None


def _read_config(path: Path) -> dict[str, Any]:
    beside = path.with_name(_PEFT_CONFIG)
    if not beside.is_file() or beside.stat().st_size > _MOST_CONFIG:
        raise UserError(
            f"{path}: PEFT keeps the scale of this file in {_PEFT_CONFIG}, which is not beside it; "
            "put it there"
        )
    try:
        config = json.loads(beside.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise UserError(f"{beside}: is not a JSON object")
    return config


def _of_config(path: Path, config: dict[str, Any]) -> float | None:
    """PEFT's lora_alpha, once nothing else in its settings changes what A and B mean."""
    for name in ("use_dora", "use_rslora", "alpha_pattern", "modules_to_save"):
        if config.get(name):
            raise UserError(f"{path}: uses {name}, which textreg does not read")
    alpha = config.get("lora_alpha")
    if alpha is None:
        return None
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e6:
        raise UserError(f"{path}: its lora_alpha is {shown(repr(alpha))}, not a number")
    return float(alpha)
