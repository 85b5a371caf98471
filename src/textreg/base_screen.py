"""Refuse an unsafe or foreign model's folder before any library opens it. Imports no torch."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from textreg.errors import UserError
from textreg.families import FAMILIES, has_weights, parts_of
from textreg.file_kinds import shown
from textreg.regular_file import read_regular

_LIBRARIES = ("diffusers", "transformers")
"""A part from elsewhere is code that lies in the folder."""
_CODE = frozenset(
    {
        "_attn_implementation_internal",
        "_experts_implementation_internal",
        "auto_map",
        "custom_pipeline",
        "custom_pipelines",
        "kernel_config",
        "trust_remote_code",
    }
)
_KERNELS = frozenset(
    {
        "_attn_implementation",
        "_experts_implementation",
        "attn_implementation",
        "experts_implementation",
    }
)
"""Settings whose value may name a repository of compiled code."""
_VOCABULARIES = ("vocab.json", "tokenizer.json", "added_tokens.json")
"""Their keys are words of a language, not settings."""
_MOST_JSON = 1 << 26
"""Bytes; the largest, a tokenizer.json, has four million."""
_MOST_DEPTH = 32


def screen(folder: Path) -> None:
    """Refuse, before any library opens it, a folder that is not of a supported family.

    Raises:
        UserError: what is missing, unsupported or unsafe, by file.
    """
    index = read_json(folder / "model_index.json")
    parts = parts_of(index)
    for part, wanted in parts.items():
        entry = index.get(part)
        library, found = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        if str(found).removesuffix("Fast") != wanted:
            raise UserError(
                f"{folder}: its {part} is {shown(str(found))}, not {wanted}; supported are "
                f"{FAMILIES}"
            )
        if library not in _LIBRARIES:
            raise UserError(f"{folder}: its {part} comes from {shown(str(library))}; refused")
        if not (folder / part).is_dir():
            raise UserError(f"{folder}: the folder {part} is missing")
    screen_files(folder)
    for path in sorted((*folder.glob("*.json"), *folder.glob("*/*.json"))):
        screen_settings(path)
    for part in filter(has_weights, parts):
        screen_weights(folder / part)


def screen_files(folder: Path) -> None:
    """Refuse what is no plain file of the folder, or of the hub's cache that it belongs to.

    Raises:
        UserError: names a link out of it, a dead one, a pipe or a device.
    """
    home = folder.resolve()
    homes = [home]
    if home.parent.name == "snapshots":  # models--owner--name/snapshots/REVISION -> ../../blobs
        homes.append(home.parent.parent / "blobs")
    for path in sorted((*folder.glob("*"), *folder.glob("*/*"))):
        try:
            target = path.resolve(strict=True)
            mode = target.stat().st_mode
        except (OSError, RuntimeError):  # RuntimeError: a link to itself, before Python 3.13
            raise UserError(f"{path}: is a dead link or cannot be read") from None
        if not any(target.is_relative_to(place) for place in homes):
            raise UserError(f"{path}: is a link out of its folder; put the file itself here")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UserError(f"{path}: is a pipe or a device, not a file of a model")


def screen_settings(path: Path) -> None:
    """Refuse a JSON file that would have a library run code or load another model.

    Raises:
        UserError: names the file and the setting.
    """
    if path.name == "adapter_config.json":
        raise UserError(f"{path}: would load another model in the place of this one; remove it")
    if path.name in _VOCABULARIES:
        return
    for key, value in _settings(path, read_json(path)):
        if key in _CODE or (key in _KERNELS and (isinstance(value, dict) or "/" in str(value))):
            raise UserError(f"{path}: names code to run ({key}); refused")
        if key == "quantization_config":
            raise UserError(f"{path}: quantised weights are not supported; take the full ones")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise UserError(f"{path}: {shown(key)} is {shown(str(value))}; no setting is so large")


def _settings(path: Path, data: Any) -> Iterator[tuple[str, Any]]:
    """Every key and its value, at any depth; items of a list come under the list's key."""
    waiting: list[tuple[str, Any, int]] = [("", data, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        yield name, value
        if depth > _MOST_DEPTH:
            raise UserError(f"{path}: is nested more than {_MOST_DEPTH} levels deep; refused")
        if isinstance(value, dict):
            waiting += [(str(key), item, depth + 1) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [(name, item, depth + 1) for item in value]


def screen_weights(part: Path) -> None:
    """Refuse a part without safetensors weights of its own.

    Raises:
        UserError: it has none, or an index names a file that is not beside it.
    """
    if not any(part.glob("*.safetensors")):
        has_pickle = any(part.glob("*.bin"))
        why = "only .bin (pickle) weights, which are never loaded" if has_pickle else "no weights"
        raise UserError(f"{part}: {why}; save the model as safetensors")
    beside = {path.name for path in part.iterdir() if path.is_file()}
    for index_file in sorted(part.glob("*.safetensors.index*.json")):
        shards = read_json(index_file).get("weight_map", {})
        if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
            raise UserError(f"{index_file}: its weight_map does not name one file a tensor")
        if missing := sorted(set(shards.values()) - beside):
            raise UserError(
                f"{index_file}: names the shard {shown(missing[0])!r}, which is not beside it"
            )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a base folder's JSON file.

    Raises:
        UserError: it is missing, no plain file, not JSON, or no object.
    """
    data = read_regular(path, most=_MOST_JSON, missing="; a diffusers folder has this file")
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object")
    return content
