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

from textreg.adapter.diffusers_files import EMBEDDING_FILE
from textreg.adapter.embedding_file import read_embedding
from textreg.batch import Batch
from textreg.concept_texts import ConceptTexts
from textreg.config import Inversion, Run, Tuning
from textreg.edits import Edits
from textreg.errors import UserError
from textreg.method.identifier import initial_vector, pull_norm
from textreg.method.text_features import TextFeatures, Tokens
from textreg.method.text_projections import TextProjections
from textreg.priors import Penalty, Prior
from textreg.prompt_pools import PromptPools
from textreg.randomness import Draws


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

    def features(self, draws: Sequence[Sequence[Draws]]) -> TextFeatures:
        """Text features of this step's instance prompts, tokens [N, S, T, d]."""
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
    """Stage 1: each concept's word vectors learn alone; the encoder is masked and frozen."""

    name = "inversion"
    max_grad_norm = 0.0

    def __init__(self, run: Run, texts: Sequence[ConceptTexts]):
        self.settings = run.inversion
        self._texts, self._ratio = texts, run.mask.ratio
        self._pull = run.inversion.norm_pull
        self._pools: list[Tokens] = [t.tokens(t.fill(t.instance.templates)) for t in texts]
        first = torch.stack([_first_vectors(run, t) for t in texts])
        backbone = texts[0].backbone
        self._widths = [table.shape[1] for table in backbone.word_tables]
        self.vectors = nn.Parameter(first.to(backbone.device, backbone.wide))
        self._count = run.inversion.vectors
        self._initial_norms = [torch.linalg.vector_norm(v, dim=-1) for v in self._by_encoder()]

    def parameters(self) -> dict[str, nn.Parameter]:
        """The identifiers' vectors, [N, vectors * d]; not one row of the embedding table."""
        return {"vectors": self.vectors}

    def features(self, draws: Sequence[Sequence[Draws]]) -> TextFeatures:
        """Encode one random template a sample, each with its own mask draw; all in one call."""
        tokens = Tokens.cat(
            [
                pool.rows(torch.tensor(texts.instance.rows(samples)))
                for texts, pool, samples in zip(self._texts, self._pools, draws, strict=True)
            ]
        )
        masked = [d.uniform("mask") < self._ratio for samples in draws for d in samples]
        each = len(masked) // len(draws)
        given = self.vectors[:, None].expand(-1, each, -1).flatten(0, 1)
        found = self._texts[0].backbone.encode(tokens, given, torch.tensor(masked))
        return found.unflatten(len(draws))

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
        """Pull each vector's norm back, in each text encoder."""
        if self._pull:
            for vectors, initial in zip(self._by_encoder(), self._initial_norms, strict=True):
                pull_norm(vectors, initial, torch.as_tensor(learning_rate)[..., None])

    def _by_encoder(self) -> tuple[Tensor, ...]:
        """The vectors that each text encoder reads, [N, vectors, width], as views."""
        each = self.vectors.detach().unflatten(1, (self._count, -1))
        return each.split(self._widths, dim=2)


class TuningStage:
    """Stage 2: each concept's low-rank edits; the word is frozen."""

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
        self._edits = Edits.carried(projections)
        if not self._edits.parameters():
            raise ValueError("stage 2 needs an edit; set projections.edit first")
        self._edits.initialise(run.seed, [t.concept.name for t in texts])
        self._prompts = [t.instance for t in texts]
        prompts = [t.fill(t.instance.templates) for t in texts]
        self._pools = PromptPools(
            texts, prompts, vectors, projections.encoder, masked=self._ratio > 0
        )
        gates = [t.gate(own, prior.edited_tokens) for t, own in zip(texts, prompts, strict=True)]
        self._gates = [gate.to(vectors.device) for gate in gates if gate is not None]
        self._prior = prior
        self._prior.setup(texts, vectors, projections)

    def parameters(self) -> dict[str, nn.Parameter]:
        """A and B of every projection."""
        return self._edits.parameters()

    def features(self, draws: Sequence[Sequence[Draws]]) -> TextFeatures:
        """One random template a sample, masked or not."""
        return self._pools.rows(
            [own.rows(samples) for own, samples in zip(self._prompts, draws, strict=True)],
            [[d.uniform("mask") < self._ratio for d in samples] for samples in draws],
        )

    def gate(self, draws: Sequence[Sequence[Draws]]) -> Tensor | None:
        """The gate of the same templates, if the prior has one."""
        if not self._gates:
            return None
        return torch.stack(
            [
                torch.stack([gate[row] for row in own.rows(samples)])
                for gate, own, samples in zip(self._gates, self._prompts, draws, strict=True)
            ]
        )

    def batches(self, draws: Sequence[Sequence[Draws]], instance: Batch) -> dict[str, Batch]:
        """The prior's samples."""
        return self._prior.batches(draws, instance)

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        """The prior's terms."""
        return self._prior.penalties(draws)

    def after_step(self, learning_rate: Tensor) -> None:
        """The prior's constraint."""
        self._prior.after_step()


def _first_vectors(run: Run, texts: ConceptTexts) -> Tensor:
    """Where a word starts, [vectors * width]: at one token's row, or at what a file holds."""
    tables, count = texts.backbone.word_tables, run.inversion.vectors
    if run.inversion.embedding is not None:
        width, path = sum(table.shape[1] for table in tables), run.inversion.embedding
        if path.is_dir():
            path = path / texts.concept.name / EMBEDDING_FILE
        return _saved_vectors(path, width, count)
    return _first_row(run, texts, tables).repeat(count)


def _first_row(run: Run, texts: ConceptTexts, tables: list[Tensor]) -> Tensor:
    if run.inversion.initialise_with_noun:
        last = texts.tokenizer.encode(texts.concept.noun, add_special_tokens=False)[-1]
        return torch.cat([table[last].detach().float() for table in tables])
    token = run.inversion.initial_token
    try:
        return torch.cat([initial_vector(table, texts.tokenizer, token) for table in tables])
    except ValueError as error:
        raise UserError(f"inversion.initial_token: {error}") from None


def _saved_vectors(path: Path, width: int, count: int) -> Tensor:
    """A learned word to start from; with 0 steps of inversion it is stage 1's result.

    Raises:
        UserError: the file holds no word, one of another base, or of another number of vectors.
    """
    word = read_embedding(path)
    if word.width != width:
        raise UserError(
            f"{path}: its word has {word.width} numbers, this base reads {width}: it belongs "
            "to another base"
        )
    if word.num_vectors != count:
        raise UserError(
            f"{path}: its word has {word.num_vectors} vectors, --vectors is {count}; "
            f"use --vectors {word.num_vectors}"
        )
    return word.vector
