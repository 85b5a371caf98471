"""The programs that open our files, and the rules by which each finds its way in one, as data.

The rules were read in the programs' sources, at the version that stands beside each; newer ones may
take more. diffusers itself and peft open the files in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

_LAYER_UP = re.compile(r"up_blocks\.\d+\.attentions\.(\d+)\.")
Program = Literal["diffusers", "kohya", "a1111", "forge", "comfyui"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Consumer:
    """How one program reads a LoRA file and a word's file."""

    name: str
    read_in: str
    """The version whose source the rules were read in."""
    modules: tuple[str, ...]
    """Names by which it knows a projection: {dots} is its own, {joined} has _ for every dot,
    {processor} names the layer's attention processor; of Stable Diffusion XL, {numbered} has the
    original's block numbers in place of {joined}."""
    text_modules: tuple[str, ...]
    """The same of a text encoder's projections; {te} is te, or te1 and te2 of a base with two."""
    parts: tuple[tuple[str, str], ...]
    """Endings of A and B that it knows; that of alpha is .alpha in every program."""
    at_first_dot: bool = False
    """It takes all before a key's first dot for the module, so a module's name has none."""
    layers_a_block: int | None = None
    """It numbers the base's layers by so many a block, whatever the base has; none: the base's."""
    most_unmatched: int | None = None
    """It refuses a file with more keys than this that it cannot place; none: it only warns."""
    word_is_the_key: bool = False
    """The word is the tensor's name; otherwise the file's."""
    bundles: bool = False
    """It takes words out of a LoRA file: bundle_emb, a dot, the word, a dot, what the tensor is."""


_KOHYA = (".lora_down.weight", ".lora_up.weight")
_CURRENT = (".lora_A.weight", ".lora_B.weight")
_OLDER = (".lora.down.weight", ".lora.up.weight")
_OLDEST = ("_lora.down.weight", "_lora.up.weight")
_TEXT = ("lora_{te}_{joined}",)
# Written out here, and not taken from lora_keys.py by which files are written: a slip there must
# not pass its own check.
CONSUMERS: dict[Program, Consumer] = {
    "diffusers": Consumer(
        name="diffusers",
        read_in="0.42.1",
        modules=("unet.{dots}", "unet.{processor}", "lora_unet_{joined}", "lora_unet_{numbered}"),
        text_modules=("{dots}", *_TEXT),
        parts=(_CURRENT, _OLDER, _OLDEST, _KOHYA),
        most_unmatched=0,
        word_is_the_key=True,
    ),
    "kohya": Consumer(
        name="sd-scripts",
        read_in="48d368f",
        modules=("lora_unet_{joined}", "lora_unet_{numbered}"),
        text_modules=_TEXT,
        parts=(_KOHYA,),
        at_first_dot=True,
    ),
    "a1111": Consumer(
        name="A1111",
        read_in="873edba",
        modules=("lora_unet_{joined}", "lora_unet_{numbered}"),
        text_modules=_TEXT,
        parts=(_KOHYA,),
        at_first_dot=True,
        layers_a_block=2,
        bundles=True,
    ),
    "forge": Consumer(
        name="Forge",
        read_in="dfdcbab",
        modules=("lora_unet_{joined}", "lora_unet_{numbered}", "{processor}", "unet.{processor}"),
        text_modules=("{dots}", *_TEXT),
        parts=(_KOHYA, _OLDEST, _CURRENT, _OLDER),
        most_unmatched=12,
    ),
    "comfyui": Consumer(
        name="ComfyUI",
        read_in="a125cd8",
        modules=("lora_unet_{joined}", "lora_unet_{numbered}", "{processor}", "unet.{processor}"),
        text_modules=("{dots}", *_TEXT),
        parts=(_KOHYA, _OLDEST, _CURRENT, _OLDER),
    ),
}


_XL_BLOCKS = {
    "down_blocks_1_attentions_0": "input_blocks_4_1",
    "down_blocks_1_attentions_1": "input_blocks_5_1",
    "down_blocks_2_attentions_0": "input_blocks_7_1",
    "down_blocks_2_attentions_1": "input_blocks_8_1",
    "mid_block_attentions_0": "middle_block_1",
    "up_blocks_0_attentions_0": "output_blocks_0_1",
    "up_blocks_0_attentions_1": "output_blocks_1_1",
    "up_blocks_0_attentions_2": "output_blocks_2_1",
    "up_blocks_1_attentions_0": "output_blocks_3_1",
    "up_blocks_1_attentions_1": "output_blocks_4_1",
    "up_blocks_1_attentions_2": "output_blocks_5_1",
}
_XL_WORD = ("clip_l", "clip_g")


class Refused(Exception):
    """A program would not take this file; the message says why."""


def cannot_hold(consumer: Consumer, projections: Iterable[str]) -> str | None:
    """Why a program could not load the base itself, if it could not."""
    counted = consumer.layers_a_block
    # An up block has one layer more than a down block.
    own = max((int(m[1]) for n in projections if (m := _LAYER_UP.match(n))), default=counted)
    if counted is None or own == counted:
        return None
    return f"it counts {counted} layers a block, as Stable Diffusion has, and this base has {own}"


def open_lora(
    consumer: Consumer, tensors: dict[str, Tensor], projections: Iterable[str]
) -> dict[str, tuple[Tensor, Tensor, float]]:
    """What a program takes out of a LoRA file: A, B and scale by projection.

    Args:
        consumer: the program.
        tensors: the file.
        projections: names of what is edited.

    Raises:
        Refused: it takes nothing, or less than the base has.
    """
    found: dict[str, tuple[Tensor, Tensor, float]] = {}
    names, placed = list(projections), set[str]()
    # Only Stable Diffusion XL has several layers in one attention.
    xl = any(".transformer_blocks.1." in name for name in names)
    for name in names:
        text = name.startswith("text_encoder")
        modules = _text_modules if text else _modules
        for module in modules(consumer, name, xl):
            for a_end, b_end in consumer.parts:
                keys = (module + a_end, module + b_end)
                if not tensors.keys() >= set(keys):
                    continue
                down, up = (tensors[key] for key in keys)
                alpha = tensors.get(f"{module}.alpha")
                found[name] = (down, up, 1.0 if alpha is None else float(alpha) / len(down))
                placed |= {*keys, f"{module}.alpha"}
    unmatched = [key for key in tensors if key not in placed]
    if consumer.most_unmatched is not None and len(unmatched) > consumer.most_unmatched:
        raise Refused(f"{len(unmatched)} keys it does not know, like {unmatched[0]}")
    if len(found) < len(names):
        raise Refused(f"it places {len(found)} of {len(names)} projections")
    return found


def open_word(consumer: Consumer, tensors: dict[str, Tensor], stem: str) -> tuple[str, Tensor]:
    """The word that a program takes a file for ("": the one it is told), and its vectors.

    Args:
        consumer: the program.
        tensors: the file.
        stem: its name without ending.

    Raises:
        Refused: it does not hold exactly one.
    """
    bundled = [key.split(".", 2) for key in tensors if key.startswith("bundle_emb.")]
    if consumer.bundles and bundled:
        words = {word for _, word, _ in bundled}
        if len(words) != 1:
            raise Refused(f"{len(words)} words in one file")
        stem = words.pop()
        tensors = {
            what.removeprefix("string_to_param."): tensors[f"bundle_emb.{stem}.{what}"]
            for _, _, what in bundled
        }
    if tensors.keys() == set(_XL_WORD):
        # diffusers is told the word as it loads each.
        name = "" if consumer.word_is_the_key else stem
        return name, torch.cat([tensors[key] for key in _XL_WORD], dim=-1)
    if len(tensors) != 1:
        raise Refused(f"{len(tensors)} tensors; a word is one")
    key, tensor = next(iter(tensors.items()))
    return (key if consumer.word_is_the_key else stem), tensor


def _text_modules(consumer: Consumer, projection: str, xl: bool) -> list[str]:
    encoder, _, inner = projection.partition(".")
    te = {"text_encoder": "te1" if xl else "te", "text_encoder_2": "te2"}[encoder]
    names = {"dots": projection, "joined": inner.replace(".", "_"), "te": te}
    return [template.format(**names) for template in consumer.text_modules]


def _modules(consumer: Consumer, projection: str, xl: bool) -> list[str]:
    """The names under which a program looks a projection up."""
    names = {
        "dots": projection,
        "joined": projection.replace(".", "_"),
        "processor": projection.replace(".to_", ".processor.to_"),
    }
    if xl:
        block, _, rest = names.pop("joined").partition("_transformer_blocks_")
        names["numbered"] = f"{_XL_BLOCKS[block]}_transformer_blocks_{rest}"
    templates = (t for t in consumer.modules if any(f"{{{name}}}" in t for name in names))
    modules = [template.format(**names) for template in templates]
    return [m for m in modules if not (consumer.at_first_dot and "." in m)]
