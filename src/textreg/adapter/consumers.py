"""The programs that open our files, and the rules by which each finds its way in one, as data.

The rules were read in the programs' sources, at the version that stands beside each; newer ones may
take more. diffusers itself and peft open the files in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from textreg.adapter import lora_keys
from textreg.adapter.lora_keys import (
    ATTENTION_PROCESSORS,
    DIFFUSERS,
    DIFFUSERS_OLDER,
    DIFFUSERS_OLDEST,
    KOHYA,
    KeyForm,
)

_LAYER_UP = re.compile(r"up_blocks\.\d+\.attentions\.(\d+)\.")
Program = Literal["diffusers", "kohya", "a1111", "forge", "comfyui"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Consumer:
    """How one program reads a LoRA file and a word's file."""

    name: str
    read_in: str
    """The version whose source the rules were read in."""
    forms: tuple[KeyForm, ...]
    """Key forms it knows."""
    at_first_dot: bool = False
    """It takes all before a key's first dot for the module."""
    layers_a_block: int | None = None
    """It numbers the base's layers by so many a block, whatever the base has; none: the base's."""
    most_unmatched: int | None = None
    """It refuses a file with more keys than this that it cannot place; none: it only warns."""
    word_is_the_key: bool = False
    """The word is the tensor's name; otherwise the file's."""


CONSUMERS: dict[Program, Consumer] = {
    "diffusers": Consumer(
        name="diffusers",
        read_in="0.42.1",
        forms=(DIFFUSERS, DIFFUSERS_OLDER, DIFFUSERS_OLDEST, KOHYA),
        most_unmatched=0,
        word_is_the_key=True,
    ),
    "kohya": Consumer(name="sd-scripts", read_in="48d368f", forms=(KOHYA,), at_first_dot=True),
    "a1111": Consumer(
        name="A1111", read_in="873edba", forms=(KOHYA,), at_first_dot=True, layers_a_block=2
    ),
    "forge": Consumer(
        name="Forge",
        read_in="dfdcbab",
        forms=(KOHYA, DIFFUSERS_OLDEST, ATTENTION_PROCESSORS),
        most_unmatched=12,
    ),
    "comfyui": Consumer(
        name="ComfyUI",
        read_in="a125cd8",
        forms=(KOHYA, DIFFUSERS_OLDEST, ATTENTION_PROCESSORS),
    ),
}


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
        projections: names of the base's keys and values.

    Raises:
        Refused: it takes nothing, or less than the base has.
    """
    names = list(projections)
    found: dict[str, dict[str, Tensor]] = {}
    unmatched: list[str] = []
    for key, tensor in tensors.items():
        place = _match(consumer, key)
        if place is None or place[0] not in names:
            unmatched.append(key)
        else:
            found.setdefault(place[0], {})[place[1]] = tensor
    if consumer.most_unmatched is not None and len(unmatched) > consumer.most_unmatched:
        raise Refused(f"{len(unmatched)} keys it does not know, like {unmatched[0]}")
    if missing := [n for n in names if not {"down", "up"} <= found.get(n, {}).keys()]:
        raise Refused(f"it places {len(names) - len(missing)} of {len(names)} projections")
    return {
        name: (p["down"], p["up"], float(p["alpha"]) / len(p["down"]) if "alpha" in p else 1.0)
        for name, p in found.items()
    }


def open_word(consumer: Consumer, tensors: dict[str, Tensor], stem: str) -> tuple[str, Tensor]:
    """The word that a program takes a file for, and its vectors.

    Args:
        consumer: the program.
        tensors: the file.
        stem: its name without ending.

    Raises:
        Refused: it does not hold exactly one.
    """
    if len(tensors) != 1:
        raise Refused(f"{len(tensors)} tensors; a word is one")
    key, tensor = next(iter(tensors.items()))
    return (key if consumer.word_is_the_key else stem), tensor


def _match(consumer: Consumer, key: str) -> tuple[str, str] | None:
    """The projection and part that a program makes of a key."""
    found = lora_keys.parse(key)
    if found is None or found[0] not in consumer.forms:
        return None
    form, name, part = found
    if consumer.at_first_dot and key.split(".", 1)[0] != form.module(name):
        return None
    return name, part
