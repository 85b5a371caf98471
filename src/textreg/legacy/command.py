"""From the original's training flags to a run. Imports no torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textreg.errors import UserError
from textreg.legacy.flags import FLAGS, parser, split_glued

if TYPE_CHECKING:
    from textreg.config import Run

_REPEATS = 20
"""How often an epoch of the original shows each picture."""

_DEFAULTS: dict[str, Any] = {
    "out": Path("text-inversion-model"),
    "dtype": "fp32",
    "images.resolution": 512,
    "images.center_crop": False,
    "images.views": None,
    # The original reads nothing that lies beside the pictures.
    "images.captions": False,
    "images.masks": "off",
    "optimizer.batch_size": 4,
    "tuning.rank": 4,
    "tuning.learning_rate": 1e-4,
    "textreg.class_weight": 0.01,
    "textreg.edit_weight": 0.01,
    "textreg.null_prompt": False,
    "textreg.class_templates": "one",
    "textreg.edit_prompts": "instance",
}
"""Where the original's defaults differ from ours (METHOD 8, legacy command line)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What a command line means."""

    run: Run
    first_step: int
    """Number that the first step has in the names of files: after --resume_ti_embedding_path the
    original counts from --ti_train_step on."""
    lines: list[str]
    """What to tell the user first."""

    def weights(self, step: int) -> Path:
        """The file of a number of steps of this run."""
        return self.run.out / f"lora_weight_s{self.first_step + step}.safetensors"

    @property
    def last_weights(self) -> Path:
        """The file of the end."""
        return self.run.out / "lora_weight.safetensors"


def read_command(words: Sequence[str]) -> Command:
    """From words to a run.

    Raises:
        UserError: a flag that is refused, or a value that cannot be.
        SystemExit: with 2, an unknown flag or a value of the wrong kind.
    """
    apart, lines = split_glued(words)
    given = {f"--{name}": value for name, value in vars(parser().parse_args(apart)).items()}
    for name in given:
        if FLAGS[name].refusal:
            raise UserError(f"{name}: {FLAGS[name].refusal}")
    lines += [f"{name} has no effect: {FLAGS[name].note}" for name in given if FLAGS[name].note]
    values = _DEFAULTS | {
        flag.key: given[name] for name, flag in FLAGS.items() if flag.key and name in given
    }
    concept = {
        "images": given["--instance_data_dir"],
        "noun": given["--class_tokens"],
        "identifier": given["--placeholder_token"],
        "learnable_property": given.get("--learnable_property", "object"),
    }
    values["concepts"] = [concept]
    first_step = _set_steps(values, given)
    _set_rates(values, given, lines)
    _set_method(values, given, lines)
    return Command(run=_run(values), first_step=first_step, lines=lines)


def _set_steps(values: dict[str, Any], given: dict[str, Any]) -> int:
    """Steps of both stages; returns what the first step is called."""
    inversion = given.get("--ti_train_step", 500)
    total = given.get("--max_train_steps")
    if total is None:
        total = given.get("--num_train_epochs", 1) * _steps_an_epoch(values)
    inversion = min(inversion, total)
    values["inversion.steps"], values["tuning.steps"] = inversion, total - inversion
    if "--just_ti" in given:
        values["tuning.steps"] = 0
    if "inversion.embedding" not in values:
        return 0
    # As in the original, a given word replaces stage 1, whose steps are still counted.
    values["inversion.steps"] = 0
    return inversion


def _steps_an_epoch(values: dict[str, Any]) -> int:
    from textreg.concept import inspect_folder

    pictures = len(inspect_folder(values["concepts"][0]["images"]).pictures)
    batches = math.ceil(_REPEATS * pictures / max(1, values["optimizer.batch_size"]))
    return math.ceil(batches / max(1, values.get("optimizer.accumulation", 1)))


def _set_rates(values: dict[str, Any], given: dict[str, Any], lines: list[str]) -> None:
    """Learning rates, warm-up and accumulation, as their names promise."""
    accumulation = values.get("optimizer.accumulation", 1)
    if "--scale_lr" in given:
        values["tuning.learning_rate"] *= accumulation * values["optimizer.batch_size"]
    kind = given.get("--lr_scheduler", "constant")
    # The original's default, 500, never acted with its default schedule.
    warmup = given.get("--lr_warmup_steps", 0 if kind == "constant" else 500)
    for stage in ("inversion", "tuning"):
        values[f"{stage}.schedule"], values[f"{stage}.warmup_steps"] = kind, warmup
    said = [f"gradients of {accumulation} batches add up to one step"] * (accumulation > 1)
    said += [f"{warmup} steps warm up"] * (warmup > 0 and kind == "constant")
    if said:
        lines.append(
            f"{' and '.join(said)}, as the flags say; in the original they did not. What really "
            "ran there is textreg train --preset original"
        )


def _set_method(values: dict[str, Any], given: dict[str, Any], lines: list[str]) -> None:
    """Mask, prior, and what else is not one flag, one key."""
    if given.get("--filter_crossattn_str", "cross") != "cross":
        raise UserError(
            f"--filter_crossattn_str {given['--filter_crossattn_str']}: only cross, the keys and "
            "values that read the text, fits this command's files; "
            "textreg train --placement has others"
        )
    masked = "--mask_identifier_causal_attention" in given
    values["mask.ratio"] = given.get("--mask_identifier_ratio", 0.5) if masked else 0.0
    if "--mask_identifier_ratio" in given and not masked:
        lines.append(
            "--mask_identifier_ratio has no effect: --mask_identifier_causal_attention is not given"
        )
    _set_prior(values, given, lines)
    if "--cached_latents" in given:
        values["images.views"] = 8
    if "--reg_prompts" in given:
        noun = given["--class_tokens"]
        values["textreg.class_templates"] = "several"
        values["textreg.class_prompts"] = tuple(
            text.replace(noun, "{}") for text in given["--reg_prompts"]
        )
    if "text" in given.get("--ti_reg_type", ""):
        lines.append(
            "--ti_reg_type text: stage 1 has no term on texts here; its vector's norm is pulled"
        )
    elif given.get("--ti_reg_type", "decay") != "decay":
        raise UserError(f"--ti_reg_type {given['--ti_reg_type']}: use decay")
    if given.get("--output_format", "safe") != "safe":
        lines.append(
            f"--output_format {given['--output_format']}: only safetensors are written; .pt files "
            "are pickles, which can run code when opened"
        )
    if "--local_files_only" in given:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _set_prior(values: dict[str, Any], given: dict[str, Any], lines: list[str]) -> None:
    """TextReg, class pictures, both (in the original they crashed together), or neither."""
    chosen = {"--enable_text_reg": "textreg", "--with_prior_preservation": "class-images"}
    values["prior"] = "+".join(p for name, p in chosen.items() if name in given) or "none"
    if "--enable_text_reg" not in given:
        lines += [
            f"{name} has no effect: --enable_text_reg is not given"
            for name in ("--text_reg_alpha_weight", "--text_reg_beta_weight", "--reg_prompts")
            if name in given
        ]
    of_class = [name for name in given if FLAGS[name].key.startswith("class_images.")]
    if "--with_prior_preservation" not in given:
        for name in of_class:
            del values[FLAGS[name].key]
            lines.append(f"{name} has no effect: --with_prior_preservation is not given")
    elif "--class_data_dir" not in given:
        lines.append("--class_data_dir is not given: the base draws the class pictures")


def _run(values: dict[str, Any]) -> Run:
    from textreg.settings import nested, require_steps, run_from

    try:
        return require_steps(run_from(nested(values), Path("the flags")))
    except UserError as error:
        raise UserError(in_flags(str(error))) from None


def in_flags(message: str) -> str:
    """A message about the run's keys, said with the original's flags."""
    names = {flag.key: name for name, flag in FLAGS.items() if flag.key}
    names |= {
        "concepts.0.noun": "--class_tokens",
        "concepts.0.identifier": "--placeholder_token",
        "--noun": "--class_tokens",
        "--identifier": "--placeholder_token",
        "--base": "--pretrained_model_name_or_path",
        "--out": "--output_dir",
        "--rank": "--lora_rank",
        "--tuning-steps": "--max_train_steps",
        "--inversion-steps": "--ti_train_step",
        "textreg.class_prompts": "--reg_prompts",
        "mask.ratio": "--mask_identifier_ratio",
    }
    for key in sorted(names, key=len, reverse=True):
        if key.startswith("--"):
            message = re.sub(rf"{key}(?![\w-])", names[key], message)
        elif "." in key or message.startswith(f"{key} "):
            message = message.replace(key, names[key])
    return message
