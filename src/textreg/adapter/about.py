"""What a file says of itself: whose word it is, how it was trained (FORMATS 5).

All values are text. Nothing names a folder of this machine or a person. No date: the same run
leaves the same bytes, whenever it ends.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textreg.adapter import Adapter
from textreg.errors import UserError
from textreg.file_kinds import shown

IDENTIFIER = "textreg.identifier"
_LONGEST_WORD = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of a training beside its result; empty where nothing is."""

    base: str
    prediction_type: str = "epsilon"
    resolution: int | None = None
    seed: int | None = None
    steps: int | None = None
    pictures: int | None = None
    more: tuple[tuple[str, str], ...] = ()
    """Further textreg.* entries: the prior, its weights, its prompts' hash, the last drift."""


def base_name(source: str) -> str:
    """A base's name for others: of a path its last part, as the rest is nobody's business."""
    return Path(source).name if Path(source).exists() else source


def ours(adapter: Adapter) -> dict[str, str]:
    """The entries from which an adapter is put together again."""
    return {
        IDENTIFIER: adapter.identifier,
        "textreg.noun": adapter.noun,
        "textreg.property": adapter.learnable_property,
        "textreg.edited_tokens": adapter.edited_tokens,
        "textreg.run": adapter.digest,
    }


def known(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """What metadata says of an adapter, as its fields; a stranger's file says nothing.

    Raises:
        UserError: a value cannot be what it says it is.
    """
    fields = {
        "identifier": metadata.get(IDENTIFIER, ""),
        "noun": metadata.get("textreg.noun", ""),
        "digest": metadata.get("textreg.run", ""),
    }
    for name, value in fields.items():
        if value:
            checked_word(path, name, value)
    style = metadata.get("textreg.property") == "style"
    gated = metadata.get("textreg.edited_tokens") == "identifier"
    return fields | {
        "learnable_property": "style" if style else "object",
        "edited_tokens": "identifier" if gated else "all",
    }


def checked_word(path: Path, what: str, value: str) -> str:
    """Text of a file that will be printed and tokenised: one line, and not long.

    Raises:
        UserError: it is neither.
    """
    if len(value) > _LONGEST_WORD or not value.isprintable():
        raise UserError(f"{path}: its {what} '{shown(value)}' is not a word or two")
    return value


def kohya_entries(adapter: Adapter, facts: Facts, name: str, words: str) -> dict[str, str]:
    """ss_*: what A1111, Forge and kohya's own tools show and sort by.

    Args:
        adapter: the concept.
        facts: how it was trained.
        name: of the file; A1111 takes it for the network's.
        words: what people type there.
    """
    v2 = _family(adapter) == "v2"
    versions = {"v1": "sd_v1", "v2": "sd_v2", "xl": "sdxl_base_v1-0"}
    version = versions.get(_family(adapter), facts.base)
    entries: dict[str, Any] = {
        "ss_v2": v2,
        "ss_base_model_version": f"{version}_v" if v2 and _predicts_v(facts) else version,
        "ss_network_module": "networks.lora",
        "ss_network_dim": adapter.rank,
        "ss_network_alpha": float(adapter.rank),
        "ss_network_args": "{}",
        "ss_output_name": name,
        "ss_sd_model_name": facts.base,
        "ss_num_reg_images": 0,
        "ss_clip_skip": None,
    }
    if facts.resolution is not None:
        entries["ss_resolution"] = (facts.resolution, facts.resolution)
    if facts.pictures is not None:
        entries["ss_num_train_images"] = facts.pictures
        entries["ss_tag_frequency"] = json.dumps({f"1_{words}": {words: facts.pictures}})
    if facts.seed is not None:
        entries["ss_seed"] = facts.seed
    if facts.steps is not None:
        entries["ss_steps"] = facts.steps
    return {key: str(value) for key, value in entries.items()}


def modelspec_entries(
    adapter: Adapter, facts: Facts, kind: str, words: str, data: bytes
) -> dict[str, str]:
    """ModelSpec 1.0.1.

    Args:
        adapter: the concept.
        facts: how it was trained.
        kind: "lora" or "textual-inversion".
        words: what people type.
        data: the tensors' bytes, of which the hash is taken.
    """
    family = {
        "v1": "stable-diffusion-v1",
        "v2": "stable-diffusion-v2",
        "xl": "stable-diffusion-xl-v1-base",
    }.get(_family(adapter))
    entries = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{family or facts.base}/{kind}",
        "implementation": "diffusers",
        "title": words,
        "description": f"{words}, learned with textreg on {facts.base}",
        "trigger_phrase": words,
        "prediction_type": "v" if _predicts_v(facts) else "epsilon",
        "hash_sha256": f"0x{hashlib.sha256(data).hexdigest()}",
    }
    if facts.resolution is not None:
        entries["resolution"] = f"{facts.resolution}x{facts.resolution}"
    return {f"modelspec.{key}": value for key, value in entries.items()}


def _predicts_v(facts: Facts) -> bool:
    return facts.prediction_type == "v_prediction"


def _family(adapter: Adapter) -> str:
    """Stable Diffusion's generation, by its text encoders; "" for other bases."""
    if adapter.second_width:
        return "xl"
    return {768: "v1", 1024: "v2"}.get(adapter.width, "")
