"""How many concepts go into one batch: what was asked for, or what fits in memory."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
from torch import Tensor

from textreg.backbone import Backbone
from textreg.batch import predict
from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.cuda_graphs import free_graphs
from textreg.edits import Edits
from textreg.errors import UserError
from textreg.out_of_memory import memory_of
from textreg.priors import samples_of
from textreg.prompt_pools import PromptPools
from textreg.randomness import Draws
from textreg.ranks import ALONE, Ranks
from textreg.run_folder import RunFolder
from textreg.speed import with_way
from textreg.stages import InversionStage

_CGROUP = Path("/sys/fs/cgroup")
_MOST_SAMPLES = 64
"""A choice: where a larger batch stops to pay has not been measured."""
_SHARE = 0.6
"""Of the free memory; the rest is for what a step needs for a moment, and for others."""


def wave_size(run: Run, place: RunFolder, backbone: Backbone, ranks: Ranks = ALONE) -> int:
    """Concepts in a batch; says on stderr what it chose if there was a choice.

    A run keeps the number that it began with, also for waves without a checkpoint, so that it ends
    in the same bytes whatever is asked for later and however many ranks there are by then. Only a
    lower one is taken, by the waves that have not begun: whoever ran out of memory asks for it.
    With enough concepts, so many waves that every rank has one.

    Raises:
        UserError: what is on record is no number.
    """
    began = _began(place)
    concepts = len(run.concepts)
    groups = ranks.size if concepts >= ranks.size else 1
    if run.batch_concepts != "auto":
        most = math.ceil(concepts / groups) if groups > 1 else run.batch_concepts
        return _kept(began, run.batch_concepts, min(run.batch_concepts, most))
    if began is not None:
        return began
    if place.begun or concepts == 1:
        return concepts  # a run of a version without waves is one
    samples = run.optimizer.batch_size * samples_of(run)
    each = samples * _bytes_kept(run, backbone)
    free = free_bytes(backbone.device)
    if backbone.device.type == "cpu":
        free //= ranks.local_size
    most = min(int(free * _SHARE) // each, _MOST_SAMPLES // samples)
    waves = groups * math.ceil(math.ceil(concepts / max(1, most)) / groups)
    size = math.ceil(concepts / waves)
    print(
        f"textreg: {size} of {concepts} concepts in a batch "
        f"({each / 2**20:.0f} MiB each, {free / 2**30:.1f} GiB free)",
        file=sys.stderr,
    )
    return size


def _began(place: RunFolder) -> int | None:
    """The number on record, if the run has begun."""
    began = place.chosen("batch_concepts")
    if began is None or (type(began) is int and began > 0):
        return began
    raise UserError(
        f"{place.path / 'environment.json'}: its batch_concepts is no number from 1 up; "
        "choose another --out"
    )


def _kept(began: int | None, asked: int, size: int) -> int:
    """The number that holds, in this run so far, asked for and for so many ranks; says why."""
    if began is None:
        return size
    if asked >= began:
        if size > began:
            print(
                f"textreg: goes on with {began} concepts in a batch, as it began; --batch-concepts "
                f"{asked} holds for a new run",
                file=sys.stderr,
            )
        return began
    print(
        f"textreg: --batch-concepts {asked} holds for waves that have not begun, which so end "
        f"equal to rounding, not to the bit; the run began with {began}",
        file=sys.stderr,
    )
    return size


@memory_of("measuring one concept's batch", "--batch-concepts 1 or a lower --resolution")
def _bytes_kept(run: Run, backbone: Backbone) -> int:
    """What one sample's forward pass keeps for its backward pass; frozen weights do not count."""
    concept = run.concepts[0]
    texts = [ConceptTexts.of(concept, backbone, vectors=run.inversion.vectors)]
    stage = InversionStage(run, texts)
    side = (run.images.resolution or backbone.resolution) // backbone.factor
    # Edits within denoiser and text encoder keep what they read; those of text are a few numbers.
    edits = Edits.of_run(backbone.projections, run.tuning)
    projections = backbone.projections.with_edit(None, edits.attention, edits.encoder)
    vectors, prompts = stage.vectors.detach(), [texts[0].fill(["a photo of a {}"])]
    live = PromptPools(texts, prompts, vectors, edits.encoder) if edits.encoder else None
    draws = [[Draws(run.seed, concept.name, "memory")]]
    x_t = torch.zeros(1, 1, backbone.vae.config.latent_channels, side, side, device=backbone.device)
    t = torch.zeros(1, 1, dtype=torch.long, device=backbone.device)
    eager = with_way(backbone, "eager")  # a recording would be counted as well
    modules = (backbone.denoiser, *backbone.text_encoders, backbone.projections)
    frozen = {
        tensor.untyped_storage().data_ptr()
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in frozen:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = live.rows([[0]]) if live else stage.features(draws)
        prediction = predict(eager, projections, x_t, t, features)
    del prediction
    return sum(kept.values())


def free_bytes(device: torch.device) -> int:
    """Memory that nobody uses, on the device or, for the CPU, in the machine (or its container)."""
    if device.type == "cuda":
        # What torch keeps of earlier passes, and of graphs that nobody uses, is free as well.
        free_graphs()
        return torch.cuda.mem_get_info(device)[0]
    lines = Path("/proc/meminfo").read_text().splitlines()
    (free,) = [int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:")]
    here = _free_in_container()
    return free if here is None else min(free, here)


def _free_in_container() -> int | None:
    """What is left of a container's limit (cgroup v2); none: it has none."""
    limit, used, parts = (_CGROUP / f"memory.{x}" for x in ("max", "current", "stat"))
    if not (limit.is_file() and used.is_file()) or limit.read_text().strip() == "max":
        return None
    free = int(limit.read_text()) - int(used.read_text())
    if parts.is_file():
        # Pages of files that the kernel takes back when memory is asked for; a base that was just
        # read is there. What lies in shared memory is not among them.
        sizes = dict(line.split() for line in parts.read_text().splitlines())
        free += sum(int(sizes.get(name, 0)) for name in ("inactive_file", "active_file"))
    return max(0, free)
