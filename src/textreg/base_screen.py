"""Refuse an unsafe or foreign base folder before any library opens it. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from textreg.errors import UserError

_PARTS = {
    "tokenizer": "CLIPTokenizer",
    "text_encoder": "CLIPTextModel",
    "vae": "AutoencoderKL",
    "unet": "UNet2DConditionModel",
}


def screen(folder: Path) -> None:
    """Refuse, before any library opens it, a folder that is not plain Stable Diffusion 1.x.

    Raises:
        UserError: what is missing, unsupported or unsafe, by file.
    """
    index = read_json(folder / "model_index.json")
    for part, wanted in _PARTS.items():
        entry = index.get(part)
        found = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if str(found).removesuffix("Fast") != wanted:
            raise UserError(
                f"{folder}: its {part} is {found}, not {wanted}; the Stable Diffusion 1.x family "
                "is what is supported"
            )
        if not (folder / part).is_dir():
            raise UserError(f"{folder}: the folder {part} is missing")
    for config in sorted(folder.glob("*/*.json")):
        if config.name == "config.json" and not config.is_symlink():
            keys = set(read_json(config))
            if unsafe := keys & {"auto_map", "_attn_implementation_internal", "custom_pipelines"}:
                raise UserError(f"{config}: names code to run ({sorted(unsafe)[0]}); refused")
    for part in ("text_encoder", "vae", "unet"):
        if not any((folder / part).glob("*.safetensors")):
            has_pickle = any((folder / part).glob("*.bin"))
            why = (
                "only .bin (pickle) weights, which are never loaded" if has_pickle else "no weights"
            )
            raise UserError(f"{folder / part}: {why}; save the model as safetensors")
        for index_file in (folder / part).glob("*.safetensors.index.json"):
            shards = set(read_json(index_file).get("weight_map", {}).values())
            if bad := [s for s in shards if Path(s).name != s or not (folder / part / s).is_file()]:
                raise UserError(f"{index_file}: names the shard {bad[0]!r}, which is not beside it")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a base folder's JSON file.

    Raises:
        UserError: it is missing, not JSON, or no object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; a diffusers folder has this file") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: not a JSON object")
    return data
