"""The export set (FORMATS 6): write a concept for other programs, and open every file again.

pytorch_lora_weights.safetensors  learned_embeds.safetensors              diffusers
webui/krk1_lora.safetensors  krk1.safetensors  krk1_lora.json  .preview.png  the web interfaces
webui/krk1_bundle.safetensors                                           A1111 alone, if asked for
lora_weight.safetensors                                                   legacy
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from PIL import Image
from torch import Tensor

from textreg.adapter import GATED, Adapter, legacy_file, webui_files
from textreg.adapter.about import Facts
from textreg.adapter.consumers import CONSUMERS, Program, Refused, cannot_hold
from textreg.adapter.diffusers_files import EMBEDDING_FILE, LORA_FILE, load_pair
from textreg.adapter.diffusers_files import files as diffusers_files
from textreg.adapter.kohya_files import lora_bytes
from textreg.adapter.reopened import (
    Reopened,
    legacy_difference,
    lora_difference,
    word_difference,
)
from textreg.checkpoint import publish
from textreg.errors import UserError
from textreg.png_file import png_bytes

Target = Literal["diffusers", "kohya", "a1111", "comfyui", "bundle", "legacy"]
StoredType = Literal["fp32", "fp16"]
TARGETS: tuple[Target, ...] = get_args(Target)
WEBUI = "webui"
LEGACY_FILE = "lora_weight.safetensors"
_TYPES = {"fp32": torch.float32, "fp16": torch.float16}
_PROGRAMS: dict[Target, tuple[Program, ...]] = {
    "kohya": ("kohya",),
    "a1111": ("a1111", "forge"),
    "comfyui": ("comfyui",),
}
_MOST_DIFFERENCE = {"fp32": 1e-6, "fp16": 1e-2}
"""More than rounding to the file's type can be."""


def export(
    adapter: Adapter,
    folder: Path,
    targets: Sequence[Target],
    facts: Facts,
    *,
    dtype: StoredType = "fp32",
    picture: Image.Image | None = None,
    text_layers: int = 0,
    replace: bool = False,
) -> list[Reopened]:
    """Write files and open each again by the rules of the programs it is for.

    Args:
        adapter: what to write; all of its projections are named.
        folder: where.
        targets: for which programs.
        facts: how it was trained, for the metadata.
        dtype: of A and B; the legacy file is fp16 always, as the original's.
        picture: for the web interfaces to show.
        text_layers: of the base's text encoder, which a legacy file tells.
        replace: take the place of files that are there; otherwise they are refused.

    Returns:
        One row a file and program.

    Raises:
        UserError: a file is there, cannot be written, or came out wrong; or the edit is gated.
    """
    if adapter.edited_tokens != "all":
        raise UserError(f"{folder}: not written; {GATED}")
    stem = webui_files.word_name(adapter.identifier)
    contents: dict[str, bytes] = {}
    if set(targets) & _PROGRAMS.keys():
        contents[f"{WEBUI}/{stem}.safetensors"] = webui_files.embedding_bytes(adapter, facts)
        contents[f"{WEBUI}/{stem}_lora.json"] = webui_files.notes_bytes(adapter, facts)
        if picture is not None:
            contents[f"{WEBUI}/{stem}_lora.preview.png"] = png_bytes(picture)
    loras: dict[str, dict[str, Tensor] | None] = {}
    if set(targets) & _PROGRAMS.keys():
        loras[f"{stem}_lora"] = None
    if "bundle" in targets:
        loras[f"{stem}_bundle"] = webui_files.bundled_word(adapter)
    for name, beside in loras.items():
        contents[f"{WEBUI}/{name}.safetensors"] = lora_bytes(
            adapter,
            facts,
            name=name,
            words=webui_files.webui_words(adapter),
            dtype=_TYPES[dtype],
            beside=beside,
        )
    if "legacy" in targets:
        if adapter.second_width:
            raise UserError("--to legacy: the original knows no Stable Diffusion XL; leave it out")
        contents[LEGACY_FILE] = legacy_file.file_bytes(adapter, text_layers=text_layers)
    if "diffusers" in targets:
        contents |= diffusers_files(adapter, _TYPES[dtype])
    _write(folder, contents, replace)
    rows = [row for target in targets for row in _reopen(adapter, folder, target, stem)]
    for row in rows:
        limit = _MOST_DIFFERENCE["fp16" if row.file == LEGACY_FILE else dtype]
        if row.difference is not None and row.difference > limit:
            raise UserError(
                f"{folder / row.file}: {row.opened_by} would read another edit out of it, off by "
                f"{row.difference:.1e}; do not use it, and report this"
            )
    return rows


def _write(folder: Path, contents: dict[str, bytes], replace: bool) -> None:
    """Publish files, all of which may be written; what is there already and equal stays."""
    different = [
        name
        for name, data in contents.items()
        if (folder / name).exists() and (folder / name).read_bytes() != data
    ]
    if different and not replace:
        raise UserError(f"{folder / different[0]}: is there already; choose another --out")
    for name, data in contents.items():
        if name in different or not (folder / name).exists():
            publish(folder / name, data)


def _reopen(adapter: Adapter, folder: Path, target: Target, stem: str) -> list[Reopened]:
    if target == "legacy":
        path = folder / LEGACY_FILE
        command = ["python", "evaluation/sample.py", "--lora_ckpt", str(path)]
        return [
            Reopened(
                file=LEGACY_FILE,
                opened_by="original TextReg 34d32c8",
                difference=legacy_difference(path, adapter),
                type_there=shlex.join([*command, "--prompts", adapter.prompt]),
            )
        ]
    if target == "bundle":
        file = f"{WEBUI}/{stem}_bundle.safetensors"
        load_lora, _ = _type_there("a1111", adapter, folder, stem)
        there = load_lora.replace(f"{stem}_lora", f"{stem}_bundle")
        return [_row(adapter, folder, file, "a1111", there, word) for word in (None, stem)]
    if target == "diffusers":
        lora, word, key = LORA_FILE, EMBEDDING_FILE, adapter.identifier
    else:
        lora, word = (f"{WEBUI}/{stem}{end}.safetensors" for end in ("_lora", ""))
        key = stem
    rows: list[Reopened] = []
    for program in _PROGRAMS.get(target, ("diffusers",)):
        load_lora, load_word = _type_there(program, adapter, folder, stem)
        for file, there in ((lora, load_lora), (word, load_word)):
            rows.append(_row(adapter, folder, file, program, there, key if file == word else None))
    return rows


def _row(
    adapter: Adapter, folder: Path, file: str, program: Program, there: str, word: str | None
) -> Reopened:
    consumer = CONSUMERS[program]
    if reason := cannot_hold(consumer, adapter.factors):
        difference, there = None, f"not on this base: {reason}"
    else:
        try:
            if word is None:
                difference = lora_difference(consumer, folder / file, adapter)
            else:
                difference = word_difference(consumer, folder / file, adapter, word)
        except Refused as reason:
            raise UserError(
                f"{folder / file}: {consumer.name} would not take it: {reason}; please report this"
            ) from None
    return Reopened(
        file=file,
        opened_by=f"{consumer.name} {consumer.read_in}",
        difference=difference,
        type_there=there,
    )


def _type_there(program: Program, adapter: Adapter, folder: Path, stem: str) -> tuple[str, str]:
    """What to type for the LoRA and for the word."""
    prompt = webui_files.webui_prompt(adapter, stem)
    if program == "diffusers":
        place = str(folder)
        if adapter.second_width:
            word = load_pair(adapter, place).replace("\n", "; ")
            return f"pipe.load_lora_weights({place!r})", word
        return (
            f"pipe.load_lora_weights({place!r})",
            f"pipe.load_textual_inversion({place!r}); pipe({adapter.prompt!r})",
        )
    if program == "kohya":
        return (
            f"--network_module networks.lora --network_weights {stem}_lora.safetensors",
            f"--textual_inversion_embeddings {stem}.safetensors --prompt {shlex.quote(prompt)}",
        )
    if program == "comfyui":
        return (
            f"Load LoRA: {stem}_lora.safetensors, strength_model 1"
            + (", strength_clip 1" if adapter.encoder_rank else ""),
            webui_files.webui_prompt(adapter, f"embedding:{stem}"),
        )
    return f"{prompt} <lora:{stem}_lora:1>", prompt
