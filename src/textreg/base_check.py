"""What a base's configurations and tokenizer already refuse, before one of its weights is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from textreg.adapter import Adapter
from textreg.backbone import device_of
from textreg.base_shape import BaseShape, check_resolution, check_steps, fitted
from textreg.concept import Folder
from textreg.config import Concept, Run
from textreg.edits import Edits
from textreg.errors import UserError
from textreg.file_kinds import shown
from textreg.instance_prompts import InstancePrompts
from textreg.method.identifier import add_identifier, token_row
from textreg.method.text_features import tokenize, unread_end


def check_training(run: Run, folders: Sequence[Folder]) -> None:
    """Refuse a run that its base could not begin.

    Raises:
        UserError: no such base, or the rank, resolution, device, identifier, initial token or a
            prompt that it cannot take.
    """
    shape = BaseShape.of(run.base, run.revision)
    device_of(run.device)
    check_resolution(run.images.resolution or shape.resolution, shape.files.factor)
    with torch.device("meta"):
        Edits.of_run(shape.projections, run.tuning)
    for concept, folder in zip(run.concepts, folders, strict=True):
        _check_words(run, concept, folder, shape)


def _check_words(run: Run, concept: Concept, folder: Folder, shape: BaseShape) -> None:
    tokenizer = shape.files.tokenizer()
    words = concept.identifier if run.inversion.initialise_with_noun else concept.words
    prompts = InstancePrompts.of(concept, run.images, folder.annotations).templates
    try:
        if run.inversion.embedding is None and not run.inversion.initialise_with_noun:
            token_row(tokenizer, run.inversion.initial_token, len(tokenizer))
    except ValueError as error:
        raise UserError(f"inversion.initial_token: {error}") from None
    try:
        count = run.inversion.vectors
        new_id = add_identifier(tokenizer, concept.identifier, concept.noun, count)
        filled = [p.replace("{}", words) for p in prompts]
        tokenize(tokenizer, filled, new_id, concept.noun, count)
    except ValueError as error:
        raise UserError(str(error)) from None


def check_sampling(
    source: str,
    adapter: Adapter | None,
    prompts: Sequence[str],
    *,
    revision: str | None = None,
    device: str = "auto",
    resolution: int | None = None,
    steps: int,
) -> list[str]:
    """Refuse what a base could not draw.

    Returns:
        One line about each prompt that would be read otherwise than it was meant.

    Raises:
        UserError: no such base, another base's adapter, a prompt in which its word is cut off, or a
            resolution, device or number of steps that it cannot take.
    """
    shape = BaseShape.of(source, revision)
    device_of(device)
    check_resolution(shape.resolution if resolution is None else resolution, shape.files.factor)
    check_steps(steps, shape.files.timesteps)
    if adapter is not None:
        fitted(adapter, shape.projections, source)
    return _misread(shape.files.tokenizer(), adapter, list(dict.fromkeys(prompts)))


def _misread(tokenizer: Any, adapter: Adapter | None, prompts: list[str]) -> list[str]:
    new_id, word, noun, count = None, "", "", 1
    try:
        if adapter is not None:
            word, noun, count = adapter.identifier, adapter.noun, adapter.num_vectors
            new_id = add_identifier(tokenizer, word, noun or "thing", count)
        tokenize(tokenizer, prompts, new_id, noun, count)
    except ValueError as error:
        raise UserError(str(error)) from None
    lines: list[str] = []
    for prompt in prompts:
        if end := unread_end(tokenizer, prompt, new_id, count):
            most = tokenizer.model_max_length - 2
            lines.append(
                f"this base reads {most} tokens of a prompt; it does not see {shown(end)!r}"
            )
        for name in sorted(set(re.findall(r"<[^<>\s]+>", prompt.lower())) - {word}):
            known = f"the one here is {word}" if word else "no concept is given"
            lines.append(f"{name} in {prompt!r} is no learned word ({known}): read as any text")
    return lines
