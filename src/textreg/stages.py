"""The two stages as values: what trains, on which prompts, with which terms (METHOD 2, 4).

The trainer knows only this shape; it never says "identifier" or "LoRA".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from textreg.adapter.embedding_file import read_embedding
from textreg.batch import Batch
from textreg.concept_texts import ConceptTexts
from textreg.config import Inversion, Run, Tuning
from textreg.errors import UserError
from textreg.instance_prompts import instance_rows
from textreg.method.identifier import initial_vector, pull_norm
from textreg.method.text_features import Tokens, encode_tokens
from textreg.method.text_projections import TextProjections
from textreg.priors import Penalty, Prior
from textreg.randomness import Draws, generator


class Stage(Protocol):
    """One stage of training."""

    @property
    def name(self) -> str:
        """The stage's name in files and random streams."""
        ...

    @property
    def settings(self) -> Inversion | Tuning:
        """Steps and learning rate."""
        ...

    @property
    def max_grad_norm(self) -> float:
        """Clip of each concept's gradient norm; 0 does not clip."""
        ...

    def parameters(self) -> dict[str, nn.Parameter]:
        """What trains; the first dimension of each is the concept."""
        ...

    def features(self, draws: Sequence[Sequence[Draws]]) -> Tensor:
        """Text features of this step's instance prompts, [N, S, T, d]."""
        ...

    def gate(self, draws: Sequence[Sequence[Draws]]) -> Tensor | None:
        """The tokens of these prompts that the edit acts on, [N, S, T]; none: all."""
        ...

    def batches(self, draws: Sequence[Sequence[Draws]], instance: Batch) -> dict[str, Batch]:
        """Samples beside the instance's."""
        ...

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        """Terms beside the denoising loss."""
        ...

    def after_step(self, learning_rate: Tensor) -> None:
        """What follows the optimiser's step; each concept has its own rate, [N]."""
        ...


def learning_rate(settings: Inversion | Tuning, step: int) -> float:
    """Learning rate of a step (from 0): linear warm-up, then constant, or down to 0."""
    rate = settings.learning_rate
    if step < settings.warmup_steps:
        return rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return rate
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    if settings.schedule == "linear":
        return rate * (1 - progress)
    return rate * (1 + math.cos(math.pi * progress)) / 2


class InversionStage:
    """Stage 1: each concept's word vector learns alone; the encoder is masked and frozen."""

    name = "inversion"
    max_grad_norm = 0.0

    def __init__(self, run: Run, texts: Sequence[ConceptTexts]):
        self.settings = run.inversion
        self._texts, self._ratio = texts, run.mask.ratio
        self._pull = run.inversion.norm_pull
        self._pools: list[Tokens] = [t.tokens(t.fill(t.instance.templates)) for t in texts]
        first = torch.stack([_first_vector(run, t) for t in texts])
        backbone = texts[0].backbone
        self.vectors = nn.Parameter(first.to(backbone.device, backbone.wide))
        self._initial_norm = torch.linalg.vector_norm(self.vectors.detach(), dim=-1)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The identifiers' vectors, [N, d]; not one row of the embedding table."""
        return {"vectors": self.vectors}

    def features(self, draws: Sequence[Sequence[Draws]]) -> Tensor:
        """Encode one random template a sample, each with its own mask draw."""
        chosen: list[Tensor] = []
        for texts, pool, vector, samples in zip(
            self._texts, self._pools, self.vectors, draws, strict=True
        ):
            rows = torch.tensor(texts.instance.rows(samples))
            masked = torch.tensor([d.uniform("mask") < self._ratio for d in samples])
            tokens = Tokens(
                ids=pool.ids[rows],
                is_identifier=pool.is_identifier[rows],
                can_mask=pool.can_mask[rows],
                noun_length=pool.noun_length,
            )
            encoder = texts.backbone.text_encoder
            chosen.append(encode_tokens(encoder, tokens, vector.expand(len(rows), -1), masked))
        return torch.stack(chosen)

    def gate(self, draws: Sequence[Sequence[Draws]]) -> Tensor | None:
        """None: stage 1 has no edit."""
        return None

    def batches(self, draws: Sequence[Sequence[Draws]], instance: Batch) -> dict[str, Batch]:
        """None: stage 1 has no prior."""
        return {}

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        """None: stage 1 has no prior."""
        return {}

    def after_step(self, learning_rate: Tensor) -> None:
        """Pull each vector's norm back."""
        if self._pull:
            pull_norm(self.vectors.data, self._initial_norm, learning_rate)


class TuningStage:
    """Stage 2: each concept's low-rank edit; text is frozen, so its features are kept."""

    name = "tuning"

    def __init__(
        self,
        run: Run,
        texts: Sequence[ConceptTexts],
        vectors: Tensor,
        projections: TextProjections,
        prior: Prior,
    ):
        self.settings = run.tuning
        self.max_grad_norm = run.tuning.max_grad_norm
        self._ratio = run.mask.ratio if run.mask.in_tuning else 0.0
        if projections.edit is None:
            raise ValueError("stage 2 needs an edit; set projections.edit first")
        self._edit = projections.edit
        names = [t.concept.name for t in texts]
        self._edit.initialise([generator(run.seed, name, "edit") for name in names])
        self._prompts = [t.instance for t in texts]
        states = (False, True) if self._ratio else (False,)
        self._pools = [
            torch.stack([t.features(t.fill(t.instance.templates), v, masked=m) for m in states], 1)
            for t, v in zip(texts, vectors, strict=True)
        ]
        gates = [t.gate(t.fill(t.instance.templates), prior.edited_tokens) for t in texts]
        self._gates = [gate.to(vectors.device) for gate in gates if gate is not None]
        self._prior = prior
        self._prior.setup(texts, vectors, projections)

    def parameters(self) -> dict[str, nn.Parameter]:
        """A and B of every projection."""
        return dict(self._edit.named_parameters())

    def features(self, draws: Sequence[Sequence[Draws]]) -> Tensor:
        """Look one random template a sample up, masked or not."""
        chosen = [
            torch.stack(
                [
                    pool[row, int(d.uniform("mask") < self._ratio)]
                    for row, d in zip(own.rows(samples), samples, strict=True)
                ]
            )
            for pool, own, samples in zip(self._pools, self._prompts, draws, strict=True)
        ]
        return torch.stack(chosen)

    def gate(self, draws: Sequence[Sequence[Draws]]) -> Tensor | None:
        """The gate of the same templates, if the prior has one."""
        return instance_rows(self._gates, self._prompts, draws) if self._gates else None

    def batches(self, draws: Sequence[Sequence[Draws]], instance: Batch) -> dict[str, Batch]:
        """The prior's samples."""
        return self._prior.batches(draws, instance)

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        """The prior's terms."""
        return self._prior.penalties(draws)

    def after_step(self, learning_rate: Tensor) -> None:
        """The prior's constraint."""
        self._prior.after_step()


def _first_vector(run: Run, texts: ConceptTexts) -> Tensor:
    encoder = texts.backbone.text_encoder
    table = getattr(encoder, "text_model", encoder).embeddings.token_embedding.weight
    if run.inversion.embedding is not None:
        return _saved_vector(run.inversion.embedding, table.shape[1])
    if run.inversion.initialise_with_noun:
        last = texts.tokenizer.encode(texts.concept.noun, add_special_tokens=False)[-1]
        return table[last].detach().float().clone()
    try:
        return initial_vector(table, texts.tokenizer, run.inversion.initial_token)
    except ValueError as error:
        raise UserError(f"inversion.initial_token: {error}") from None


def _saved_vector(path: Path, width: int) -> Tensor:
    """A learned vector to start from; with 0 steps of inversion it is stage 1's result.

    Raises:
        UserError: the file holds no vector, or one of another base.
    """
    _, vector = read_embedding(path)
    if vector.shape[0] != width:
        raise UserError(
            f"{path}: its word has {vector.shape[0]} numbers, this base reads {width}: it belongs "
            "to another base"
        )
    return vector
