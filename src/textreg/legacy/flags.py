"""The original's flags as one table: what each means for a run. Imports no torch.

Both published versions are accepted (2023-12 and 2024-08). A flag either sets a key of the run, or
is read by `legacy.train`, or changes nothing (a note says why), or is refused (and says why).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from textreg.flags import NearestParser, number, seed_number, some_path, some_text, whole_number


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """One flag of the original."""

    key: str = ""
    """Dotted key of the run that it sets; "" if it sets none by itself."""
    convert: Callable[[str], Any] | None = str
    """From its text to the key's value; None: a switch, which takes no value."""
    choices: tuple[str, ...] = ()
    many: bool = False
    """Takes several values."""
    required: bool = False
    note: str = ""
    """Said when it is given: it changes nothing, because ..."""
    refusal: str = ""
    """Said when it is given: it cannot be done, because ..."""


def precision(name: str) -> str:
    """Name of a precision in a run."""
    return "fp32" if name == "no" else name


def schedule(name: str) -> str:
    """Name of a schedule in a run; warm-up is a number of steps of its own there."""
    return "constant" if name == "constant_with_warmup" else name


def _switch(**options: Any) -> Flag:
    return Flag(convert=None, **options)


_ALWAYS = "always on, here as in the original"
_NEVER_READ = "the original never read it either"
_WHOLE_MODELS = "take it from one diffusers folder: --pretrained_model_name_or_path"
_ONLY_TEXT_REG = "this version holds the model with --enable_text_reg only"

FLAGS: dict[str, Flag] = {
    "--pretrained_model_name_or_path": Flag(key="base", convert=some_text, required=True),
    "--revision": Flag(key="revision", convert=some_text),
    "--pretrained_vae_name_or_path": Flag(refusal=f"no separate VAE; {_WHOLE_MODELS}"),
    "--tokenizer_name": Flag(refusal=f"no separate tokenizer; {_WHOLE_MODELS}"),
    "--local_files_only": _switch(),
    "--instance_data_dir": Flag(convert=some_path, required=True),
    "--placeholder_token": Flag(required=True),
    "--class_tokens": Flag(required=True),
    "--learnable_property": Flag(choices=("object", "style")),
    "--init_placeholder_as_class": _switch(key="inversion.initialise_with_noun"),
    "--output_dir": Flag(key="out", convert=some_path),
    "--output_format": Flag(choices=("pt", "safe", "both")),
    "--save_steps": Flag(key="save_steps", convert=whole_number),
    "--seed": Flag(key="seed", convert=seed_number),
    # The pictures.
    "--resolution": Flag(key="images.resolution", convert=whole_number),
    "--center_crop": _switch(key="images.center_crop"),
    "--cached_latents": _switch(),
    "--resize": _switch(note=_ALWAYS),
    "--color_jitter": _switch(note=_ALWAYS),
    # How long, how fast.
    "--max_train_steps": Flag(convert=whole_number),
    "--num_train_epochs": Flag(convert=whole_number),
    "--ti_train_step": Flag(convert=whole_number),
    "--just_ti": _switch(),
    "--train_batch_size": Flag(key="optimizer.batch_size", convert=whole_number),
    "--gradient_accumulation_steps": Flag(key="optimizer.accumulation", convert=whole_number),
    "--learning_rate": Flag(key="tuning.learning_rate", convert=number),
    "--learning_rate_ti": Flag(key="inversion.learning_rate", convert=number),
    "--learning_rate_text": Flag(convert=number, note="the text encoder is not trained"),
    "--scale_lr": _switch(),
    "--lr_scheduler": Flag(
        convert=schedule, choices=("constant", "constant_with_warmup", "linear", "cosine")
    ),
    "--lr_warmup_steps": Flag(convert=whole_number),
    "--adam_beta1": Flag(key="optimizer.beta1", convert=number),
    "--adam_beta2": Flag(key="optimizer.beta2", convert=number),
    "--adam_weight_decay": Flag(key="optimizer.weight_decay", convert=number),
    "--adam_epsilon": Flag(key="optimizer.epsilon", convert=number),
    "--max_grad_norm": Flag(key="tuning.max_grad_norm", convert=number),
    "--mixed_precision": Flag(key="dtype", convert=precision, choices=("no", "fp16", "bf16")),
    "--use_8bit_adam": _switch(note="so little trains that Adam's state is a few megabytes"),
    "--gradient_checkpointing": _switch(note="so little trains that memory suffices without"),
    "--use_xformers": _switch(note=_NEVER_READ),
    "--local_rank": Flag(convert=int, note="one process trains"),
    # What is learned, and what is held.
    "--lora_rank": Flag(key="tuning.rank", convert=whole_number),
    "--filter_crossattn_str": Flag(choices=("cross", "self", "cross+self", "full")),
    "--train_text_encoder": _switch(
        refusal="here only the word and the cross-attention keys and values are trained; textreg "
        "train --text-encoder-rank does it (docs/text_encoder.md)"
    ),
    "--resume_ti_embedding_path": Flag(key="inversion.embedding", convert=some_path),
    "--mask_identifier_causal_attention": _switch(),
    "--mask_identifier_ratio": Flag(convert=number),
    "--enable_text_reg": _switch(),
    "--text_reg_alpha_weight": Flag(key="textreg.class_weight", convert=number),
    "--text_reg_beta_weight": Flag(key="textreg.edit_weight", convert=number),
    "--reg_prompts": Flag(many=True),
    "--ti_reg_type": Flag(),
    "--ti_text_reg_alpha_weight": Flag(convert=number, note="stage 1 has no term on texts here"),
    "--ti_reg_texts_file": Flag(note="stage 1 has no term on texts here"),
    "--with_prior_preservation": _switch(),
    "--prior_loss_weight": Flag(key="class_images.weight", convert=number),
    "--class_data_dir": Flag(key="class_images.folder", convert=some_path),
    "--prompts_file": Flag(key="class_images.captions", convert=some_path),
    "--num_class_images": Flag(key="class_images.count", convert=whole_number),
    "--enable_norm_reg": _switch(refusal=_ONLY_TEXT_REG),
    "--norm_reg_alpha_weight": Flag(convert=number, note="read only with --enable_norm_reg"),
    "--enable_ewc_reg": _switch(refusal=_ONLY_TEXT_REG),
    "--ewc_epochs": Flag(convert=whole_number, note="read only with --enable_ewc_reg"),
    # What is reported.
    "--logging_dir": Flag(note="each step is a line of metrics.jsonl in --output_dir"),
    "--log_evaluation": _switch(note="drift is in metrics.jsonl at every tenth step"),
    "--log_evaluation_step": Flag(convert=whole_number, note="see --log_evaluation"),
    "--sample_batch_size": Flag(convert=whole_number, note=_NEVER_READ),
    "--stochastic_attribute": Flag(note=_NEVER_READ),
    "--push_to_hub": _switch(note=_NEVER_READ),
    "--hub_token": Flag(note=_NEVER_READ),
}


def parser() -> NearestParser:
    """A parser of the table; what is not given is absent from its result."""
    top = NearestParser(
        prog="train_lora_w_ti.py",
        description="The original's training command. The steps include stage 1; the same command "
        "again goes on where it stopped. Exit codes: 0 done, 1 failed, 2 bad input, 3 stopped.",
    )
    for name, flag in FLAGS.items():
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "required": flag.required}
        options["help"] = _help(flag)
        if flag.convert is None:
            options["action"] = "store_true"
        else:
            options["metavar"] = "{" + ",".join(flag.choices) + "}" if flag.choices else "VALUE"
            options["type"] = _chosen(flag) if flag.choices else flag.convert
            options["nargs"] = "+" if flag.many else None
        top.add_argument(name, **options)
    return top


def _help(flag: Flag) -> str:
    if flag.refusal or flag.note:
        return f"{'refused' if flag.refusal else 'no effect'}: {flag.refusal or flag.note}"
    return f"sets {flag.key}" if flag.key else "see docs/legacy.md"


def _chosen(flag: Flag) -> Callable[[str], Any]:
    """One of the choices, checked before it is converted."""
    convert = flag.convert or str

    def read(text: str) -> Any:
        if text not in flag.choices:
            raise argparse.ArgumentTypeError(f"{text!r}: choose from {', '.join(flag.choices)}")
        return convert(text)

    return read


def split_glued(words: Sequence[str]) -> tuple[list[str], list[str]]:
    r"""Words with flags that a missing blank before a "\" glued to the value before them set apart.

    The documented command holds two: `--learnable_property=object--class_tokens=cat` and
    `--text_reg_beta_weight=0.01--ti_reg_type=decay`.

    Returns:
        The words, and one line for each place where one was split.
    """
    apart: list[str] = []
    lines: list[str] = []
    for word in words:
        start = 0
        for found in re.finditer(r"(?<=.)(--\w+)(?==|$|--)", word):
            if found.start() > start and found[1] in FLAGS:
                apart.append(word[start : found.start()])
                start = found.start()
                lines.append(
                    f"a blank is missing before {found[1]}: read as {apart[-1]} {word[start:]}"
                )
        apart.append(word[start:])
    return apart, lines
