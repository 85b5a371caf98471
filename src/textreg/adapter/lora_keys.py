"""The names under which LoRA files keep a projection's A and B (FORMATS 1), as data.

For the projection P = down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k, and so for
attn1.to_k, to_q, to_v, and to_out.0 of both (the oldest form says to_out):

    diffusers          unet.P.lora_A.weight
    diffusers, older   unet.P.lora.down.weight
    diffusers, oldest  unet.(P with attn2.processor.to_k)_lora.down.weight, with or without unet.
    kohya              lora_unet_(P with _ for every .).lora_down.weight, and .alpha
    kohya, XL          lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight
    PEFT               base_model.model.P.lora_A.weight
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from textreg.adapter.text_keys import Part
from textreg.method.encoder_edit import ENCODERS, of_text_encoder

_PROJECTION = re.compile(
    r"((down|up)_blocks\.\d+|mid_block)\.attentions\.\d+\.transformer_blocks\.\d+\.attn[12]"
    r"\.to_([qkv]|out\.0)"
)
_LAYERS = 3
"""Of an original's block in Stable Diffusion: two and what resizes down, three up."""
_JOINT = re.compile(r"_(?=\d|attentions|transformer_blocks|attn[12]|to_[qkv]|to_out)")
"""Where kohya's names had a dot: before a number and before a module's name, not within one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyForm:
    """One program's way to name the two matrices of a projection, and its alpha."""

    name: str
    prefix: str
    down: str
    up: str
    alpha: str = ".alpha"
    underscores: bool = False
    """Modules are joined by _ instead of a dot."""
    processor: bool = False
    """The projection is named as a part of its layer's attention processor."""
    numbered: bool = False
    """Blocks have the original program's numbers, which count through all of a side."""
    encoders: tuple[str, ...] = tuple(f"{name}." for name in ENCODERS)
    """What stands before the names of each text encoder's projections."""

    def module(self, projection: str) -> str:
        """The name of a projection in this form, without the part's ending."""
        if of_text_encoder(projection):
            encoder, _, inner = projection.partition(".")
            inner = inner.replace(".", "_") if self.underscores else inner
            return self.encoders[ENCODERS.index(encoder)] + inner
        if self.processor:
            projection = re.sub(r"\.(attn[12])\.", r".\1.processor.", projection)
            projection = projection.removesuffix(".0")
        if self.numbered:
            projection = _numbered(projection)
        return self.prefix + (projection.replace(".", "_") if self.underscores else projection)

    def key(self, projection: str, part: Part) -> str:
        """The name of a projection's part."""
        return (
            self.module(projection) + {"down": self.down, "up": self.up, "alpha": self.alpha}[part]
        )

    def parse(self, key: str) -> tuple[str, Part] | None:
        """The projection and part that a key names; none if it is not of this form."""
        parts: dict[Part, str] = {"down": self.down, "up": self.up, "alpha": self.alpha}
        for part, ending in parts.items():
            if key.startswith(self.prefix) and key.endswith(ending):
                module = key.removeprefix(self.prefix).removesuffix(ending)
                if self.underscores:
                    module = _JOINT.sub(".", module)
                if self.processor:
                    module = re.sub(r"\.(attn[12])\.processor\.", r".\1.", module)
                    module = re.sub(r"\.to_out$", ".to_out.0", module)
                if self.numbered:
                    module = _by_block(module)
                if _PROJECTION.fullmatch(module) and self.key(module, part) == key:
                    return module, part
        return None


def _numbered(projection: str) -> str:
    """down_blocks.1.attentions.0 is input_blocks.4.1: a block is two layers and what resizes."""

    def place(match: re.Match[str]) -> str:
        number = _LAYERS * int(match[2]) + int(match[3])
        return f"input_blocks.{number + 1}.1" if match[1] == "down" else f"output_blocks.{number}.1"

    projection = projection.replace("mid_block.attentions.0.", "middle_block.1.")
    return re.sub(r"^(down|up)_blocks\.(\d+)\.attentions\.(\d+)", place, projection)


def _by_block(module: str) -> str:
    """The way back."""

    def place(match: re.Match[str]) -> str:
        down = match[1] == "input"
        block, layer = divmod(int(match[2]) - down, _LAYERS)
        return f"{'down' if down else 'up'}_blocks.{block}.attentions.{layer}"

    module = module.replace("middle_block.1.", "mid_block.attentions.0.")
    return re.sub(r"^(input|output)_blocks\.(\d+)\.1", place, module)


DIFFUSERS = KeyForm(name="diffusers", prefix="unet.", down=".lora_A.weight", up=".lora_B.weight")
DIFFUSERS_OLDER = KeyForm(
    name="diffusers, older", prefix="unet.", down=".lora.down.weight", up=".lora.up.weight"
)
DIFFUSERS_OLDEST = KeyForm(
    name="diffusers, oldest",
    prefix="unet.",
    down="_lora.down.weight",
    up="_lora.up.weight",
    processor=True,
)
ATTENTION_PROCESSORS = KeyForm(
    name="attention processors",
    prefix="",
    down="_lora.down.weight",
    up="_lora.up.weight",
    processor=True,
)
KOHYA = KeyForm(
    name="kohya",
    prefix="lora_unet_",
    down=".lora_down.weight",
    up=".lora_up.weight",
    underscores=True,
    encoders=("lora_te_",),
)
KOHYA_XL = replace(KOHYA, name="kohya, XL", numbered=True, encoders=("lora_te1_", "lora_te2_"))
PEFT = KeyForm(name="PEFT", prefix="base_model.model.", down=".lora_A.weight", up=".lora_B.weight")
FORMS = (DIFFUSERS, DIFFUSERS_OLDER, DIFFUSERS_OLDEST, ATTENTION_PROCESSORS, KOHYA, KOHYA_XL, PEFT)


def parse(key: str) -> tuple[KeyForm, str, Part] | None:
    """The form, projection and part that a key names; none for anything else."""
    for form in FORMS:
        if found := form.parse(key):
            return form, *found
    return None
