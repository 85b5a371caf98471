"""The same pictures drawn by textreg and by diffusers' own pipeline: seconds a picture."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.config import Run
from textreg.sampling import PictureModel, sample
from textreg.trainer import steps

STEPS, GUIDANCE = 25, 5.0
Draw = Callable[[], list[Any]]
Clock = Callable[[], float]


def sampling_rows(
    backbone: Backbone,
    run: Run,
    *,
    batches: Sequence[int],
    pictures: int,
    rounds: int,
    clock: Clock = time.perf_counter,
) -> list[dict[str, Any]]:
    """Seconds a picture of both, of the base alone and with a concept, at several batch sizes.

    Args:
        backbone: the base.
        run: a short one; diffusers loads its folder.
        batches: pictures at once.
        pictures: drawn in one go, at least a whole batch.
        rounds: of A B B A.
        clock: what counts as time.
    """
    for _ in steps(run, backbone):
        pass
    adapter = Adapter.load(run.out)
    rows: list[dict[str, Any]] = []
    for what, own in (("base", None), ("concept", adapter)):
        model, pipeline = PictureModel(backbone, own), _pipeline(backbone, run, own is not None)
        prompt = "a photo of a cat" if own is None else own.prompt
        for batch in batches:
            count = max(batch, pictures)
            ours = _ours(model, prompt, count, batch)
            theirs = _theirs(pipeline, prompt, count, batch)
            seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
            difference = _difference(ours(), theirs())
            for _ in range(rounds):
                for side, draw in (("ours", ours), ("theirs", theirs)):
                    seconds[side].append(_seconds(draw, clock) / count)
                for side, draw in (("theirs", theirs), ("ours", ours)):
                    seconds[side].append(_seconds(draw, clock) / count)
            middle = {side: statistics.median(values) for side, values in seconds.items()}
            rows.append(
                {
                    "model": what,
                    "batch": batch,
                    "seconds_a_picture": middle,
                    "ratio": middle["theirs"] / middle["ours"],
                    "mean_difference_of_pixels": difference,
                }
            )
    return rows


def _pipeline(backbone: Backbone, run: Run, with_concept: bool) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    options: dict[str, Any] = {"torch_dtype": backbone.denoiser.unet.dtype}
    pipeline: Any = StableDiffusionPipeline.from_pretrained(backbone.files.folder, **options)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    if with_concept:
        pipeline.load_lora_weights(run.out, weight_name="pytorch_lora_weights.safetensors")
        pipeline.load_textual_inversion(run.out, weight_name="learned_embeds.safetensors")
    return pipeline.to(backbone.device)


def _ours(model: PictureModel, prompt: str, count: int, batch: int) -> Draw:
    def draw() -> list[Any]:
        options: dict[str, Any] = {"steps": STEPS, "guidance": GUIDANCE, "batch_size": batch}
        return [p.image for p in sample(model, [prompt] * count, seeds=range(count), **options)]

    return draw


def _theirs(pipeline: Any, prompt: str, count: int, batch: int) -> Draw:
    def draw() -> list[Any]:
        images: list[Any] = []
        for start in range(0, count, batch):
            seeds = range(start, min(start + batch, count))
            images += pipeline(
                [prompt] * len(seeds),
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            ).images
        return images

    return draw


def _seconds(draw: Draw, clock: Clock) -> float:
    begun = clock()
    draw()
    return clock() - begun


def _difference(ours: list[Any], theirs: list[Any]) -> float:
    """Mean absolute difference of pixels, of 255: that both did the same work."""
    pairs = zip(ours, theirs, strict=True)
    each = [np.abs(np.asarray(a, float) - np.asarray(b, float)).mean() for a, b in pairs]
    return float(np.mean(each))
