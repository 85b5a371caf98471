"""What no single setting can know: the rules that a run keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textreg.config.pictures import Concept

if TYPE_CHECKING:
    from textreg.config.run import Run


MOST_VECTORS = 64


def problems(run: Run) -> list[str]:
    """Every rule that a run breaks, in words that name the flag."""
    positive = {
        "--rank": run.tuning.rank,
        "--vectors": run.inversion.vectors,
        "optimizer.batch_size": run.optimizer.batch_size,
        "optimizer.accumulation": run.optimizer.accumulation,
        "class_images.count": run.class_images.count,
        "class_images.steps": run.class_images.steps,
        "--batch-concepts": 1 if run.batch_concepts == "auto" else run.batch_concepts,
        "save_steps": run.save_steps,
        "--resolution": run.images.resolution if run.images.resolution is not None else 1,
        "images.views": run.images.views if run.images.views is not None else 1,
    }
    found = [
        f"{name} is {value}; it must be at least 1" for name, value in positive.items() if value < 1
    ]
    not_negative = {
        "--inversion-steps": run.inversion.steps,
        "--tuning-steps": run.tuning.steps,
        "--text-encoder-rank": run.tuning.text_encoder_rank,
        "inversion.warmup_steps": run.inversion.warmup_steps,
        "tuning.warmup_steps": run.tuning.warmup_steps,
        "inversion.learning_rate": run.inversion.learning_rate,
        "tuning.learning_rate": run.tuning.learning_rate,
        "tuning.max_grad_norm": run.tuning.max_grad_norm,
        "textreg.class_weight": run.textreg.class_weight,
        "textreg.edit_weight": run.textreg.edit_weight,
        "class_images.weight": run.class_images.weight,
        "class_images.guidance": run.class_images.guidance,
        "output_preservation.weight": run.output_preservation.weight,
        "weight_decay.weight": run.weight_decay.weight,
        "context.weight": run.context.weight,
        "card_pictures": run.card_pictures,
        "--sample-every": run.sample_every,
        "--noise-offset": run.denoising.noise_offset,
    }
    found += [
        f"{name} is {value}; it must not be negative"
        for name, value in not_negative.items()
        if not value >= 0
    ]
    if not 0 <= run.mask.ratio <= 1:
        found.append(f"mask.ratio is {run.mask.ratio}; it is a share, from 0 to 1")
    if run.inversion.vectors > MOST_VECTORS:
        found.append(
            f"--vectors is {run.inversion.vectors}; the most is {MOST_VECTORS}, as a prompt has 77 "
            "tokens and needs words around them"
        )
    if run.speed in ("compile", "graph") and run.tuning.placement != "cross-kv":
        found.append(
            f"--speed {run.speed} knows no --placement {run.tuning.placement}, whose edit acts "
            "inside the denoiser; use --speed auto"
        )
    if run.speed == "graph" and run.images.buckets:
        found.append(
            "--speed graph knows no images.buckets: a graph is of one shape, and these are many; "
            "use --speed auto"
        )
    if not run.concepts:
        found.append("no concept: name a folder with pictures")
    if not 0 <= run.seed < 2**63:
        found.append(f"--seed is {run.seed}; it must be from 0 to 2^63 - 1")
    if run.class_images.captions is not None and run.class_images.folder is None:
        found.append("class_images.captions describes class_images.folder, which is not given")
    for template in run.textreg.class_prompts:
        if template.count("{}") != 1:
            found.append(f"textreg.class_prompts: {template!r} must contain {{}} exactly once")
    if run.denoising.snr_gamma is not None and not run.denoising.snr_gamma > 0:
        found.append(f"--snr is {run.denoising.snr_gamma}; gamma must be above 0, 5 is usual")
    if run.tuning.ema_decay is not None and not 0 < run.tuning.ema_decay < 1:
        found.append(f"--ema is {run.tuning.ema_decay}; a decay is between 0 and 1, like .99")
    rate = run.tuning.text_encoder_learning_rate
    if rate is not None and not (rate >= 0 and run.tuning.learning_rate > 0):
        found.append(
            f"tuning.text_encoder_learning_rate is {rate} beside tuning.learning_rate "
            f"{run.tuning.learning_rate}; it must not be negative, and that one above 0"
        )
    if any(not prompt.strip() for prompt in run.sample_prompts):
        found.append("sample_prompts: one is empty; leave it out")
    if any(not template.strip() for template in run.images.templates):
        found.append("images.templates: one is empty; write prompts with [trigger] in them")
    return found + _optimizer_problems(run) + _concept_problems(run.concepts)


def _optimizer_problems(run: Run) -> list[str]:
    """What does not go with an optimiser, and why."""
    found: list[str] = []
    if not run.optimizer.prodigy_coefficient > 0:
        value = run.optimizer.prodigy_coefficient
        found.append(f"optimizer.prodigy_coefficient is {value}; it must be above 0")
    if run.optimizer.name != "adamw" and run.tuning.text_encoder_learning_rate is not None:
        found.append(
            f"--optimizer {run.optimizer.name} has one rate for all that trains; leave "
            "tuning.text_encoder_learning_rate out"
        )
    if run.optimizer.name == "adamw-8bit" and run.dtype == "fp64":
        found.append("--optimizer adamw-8bit knows no --dtype fp64; choose another of the two")
    if run.optimizer.name == "schedule-free":
        alternatives = {
            "averages by itself: leave --ema out": run.tuning.ema_decay is not None,
            "has no schedule: set tuning.schedule to constant": run.tuning.schedule != "constant",
            "keeps a second edit, which hard mode does not pin: set textreg.hard to false": (
                run.textreg.hard and "textreg" in run.prior.split("+")
            ),
            "needs optimizer.beta1 above 0": not run.optimizer.beta1 > 0,
        }
        found += [
            f"--optimizer schedule-free {why}" for why, is_so in alternatives.items() if is_so
        ]
    return found


def _concept_problems(concepts: tuple[Concept, ...]) -> list[str]:
    found: list[str] = []
    for concept in concepts:
        if not concept.noun.strip():
            found.append(f"{concept.images}: no class noun; give one with --noun, like cat")
        if concept.trigger is not None and not concept.trigger.strip():
            found.append(f"{concept.images}: an empty trigger; leave it out")
        if concept.identifier.split() != [concept.identifier]:
            found.append(f"--identifier {concept.identifier!r}: it must be one word, no blanks")
        if concept.identifier != concept.identifier.lower():
            found.append(
                f"--identifier {concept.identifier!r} is not lower case: the tokenizer folds "
                f"case, so it would never be seen; use {concept.identifier.lower()!r}"
            )
    for what, values in (
        ("identifier", [c.identifier for c in concepts]),
        ("folder name", [c.name for c in concepts]),
    ):
        twice = sorted({v for v in values if values.count(v) > 1})
        if twice:
            found.append(f"two concepts share the {what} {twice[0]!r}; each needs its own")
    return found
