"""A run's state between two steps, and the step itself; what the loop in trainer.py advances."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.linalg import vector_norm

from textreg.adapter import Adapter
from textreg.averages import Averages
from textreg.backbone import Backbone
from textreg.batch import losses, noisy_batch
from textreg.checkpoint import Checkpoint, refuse_unfit
from textreg.concept import Folder
from textreg.concept_adamw import clip
from textreg.concept_optimizer import concept_optimizer, paced
from textreg.concept_rows import whole
from textreg.concept_texts import ConceptTexts
from textreg.config import Concept, Run
from textreg.data_parallel import average, micro_batches, step_draws
from textreg.edits import Edits
from textreg.encoded_views import EncodedViews
from textreg.errors import UserError
from textreg.latents import latents_of
from textreg.learned import adapter_of
from textreg.memory_limit import MemoryLimit
from textreg.priors import Penalty, prior_of
from textreg.quarantine import Quarantine, ended, fault_line, weights_are_finite
from textreg.ranks import ALONE, Ranks
from textreg.stages import InversionStage, Stage, TuningStage, learning_rate
from textreg.step_record import StepRecord
from textreg.text_shift import TextShift

DRIFT_EVERY = 10
"""Steps of stage 2 between two measurements of drift."""
FP16_SCALE = 4096.0
"""Of the loss where the denoiser is fp16, whose smallest numbers a mean's gradient falls below."""


class Training:
    """The state of a run between two steps: vectors, edit, optimiser."""

    def __init__(
        self,
        run: Run,
        backbone: Backbone,
        pictures: Sequence[Folder],
        concepts: Sequence[Concept] | None = None,
        ranks: Ranks = ALONE,
        encoded: EncodedViews | None = None,
    ):
        """Set up; `ranks`: those that train these same concepts, each on some of the samples.

        `encoded`: as in `Latents`.
        """
        self.run, self.backbone, self.digest, self.encoded = run, backbone, run.digest, encoded
        self.concepts = tuple(run.concepts if concepts is None else concepts)
        """Everybody who began here, in the order of `state`."""
        self._latents = [
            latents_of(run, concept, folder, backbone, encoded)
            for concept, folder in zip(self.concepts, pictures, strict=True)
        ]
        self._texts = [
            ConceptTexts.of_run(run, c, backbone, folder.annotations, latents.choice)
            for c, folder, latents in zip(self.concepts, pictures, self._latents, strict=True)
        ]
        half = backbone.denoiser.unet.dtype == torch.float16
        self._loss_scale = FP16_SCALE if half else 1.0
        self.prior = prior_of(run)
        self.ranks, self._micro_batches = ranks, micro_batches(run, ranks)
        self._left: dict[int, dict[str, Tensor]] = {}
        self._lines: dict[int, str] = {}
        self._begin(range(len(self.concepts)))

    def _begin(self, places: Sequence[int]) -> None:
        """Set these concepts up as before their first step."""
        self.places = list(places)
        self.active = [self.concepts[n] for n in places]
        """Who is in the batch: a concept in quarantine leaves it."""
        self.texts = [self._texts[n] for n in places]
        self.latents = [self._latents[n] for n in places]
        self.projections = self.backbone.projections
        self.edits = Edits.of_run(self.projections, self.run.tuning, len(places))
        self.inversion = InversionStage(self.run, self.texts)
        self.prior.check(self.texts)
        drifts = self.edits.drifting is not None
        self.text_shift = TextShift(self.texts, self.prior.edited_tokens) if drifts else None
        self.quarantine = Quarantine(len(places), self.backbone.device)
        denoiser, samples = self.backbone.denoiser, len(self._micro_batches[0])
        self.memory = MemoryLimit(samples, len(places), denoiser, whole=self.run.images.buckets)
        # The same on the host, as of the last record.
        self._strikes, self._faults = [0] * len(places), [[0, 0]] * len(places)
        self._enter(0)

    def _enter(self, index: int) -> None:
        """Begin a stage with a fresh optimiser."""
        if index == 0:
            self.stage: Stage = self.inversion
        else:
            self.projections = self.edits.put_in(self.backbone.projections)
            vectors = self.inversion.vectors.detach()
            self.stage = TuningStage(self.run, self.texts, vectors, self.projections, self.prior)
        self.stage_index, self.step = index, 0
        self.parameters = self.stage.parameters()
        self.optimizer = concept_optimizer(self.parameters, self.stage.settings, self.run.optimizer)
        decay = self.run.tuning.ema_decay if index else None
        self.averages = Averages(self.parameters, decay) if decay else None

    def advance(self) -> bool:
        """Go to the next stage if this one is done; False when nothing is left to train."""
        done = self.step >= self.stage.settings.steps
        if all(map(ended, self._strikes)) or (self.stage_index == 1 and done):
            return False
        self._drop_ended()
        while self.step >= self.stage.settings.steps:
            if self.stage_index == 1:
                return False
            self._enter(1)
        return True

    def _drop_ended(self) -> None:
        """Concepts in quarantine leave the batch; `state` keeps what their last good step left."""
        kept = [n for n, strikes in enumerate(self._strikes) if not ended(strikes)]
        if len(kept) == len(self.places):
            return
        tensors, stage, step = self._rows(), self.stage_index, self.step
        for n, place in enumerate(self.places):
            if n not in kept:
                self._left[place] = {name: rows[n].clone() for name, rows in tensors.items()}
                self._lines[place] = self._fault(n)
        self._begin([self.places[n] for n in kept])
        self._load({name: rows[kept] for name, rows in tensors.items()}, stage, step)

    @property
    def global_step(self) -> int:
        """Steps done in both stages."""
        return self.step + (self.run.inversion.steps if self.stage_index else 0)

    def take_step(self) -> list[StepRecord]:
        """One update of every concept."""
        start = time.perf_counter()
        rate = learning_rate(paced(self.stage.settings, self.run.optimizer), self.step)
        terms = self.memory.fit(self._gradients)
        terms = average(self.ranks, self.parameters.values(), terms)
        norms = self._gradient_norms()
        self._clip(norms)
        kept, scale = self.optimizer.keep(), self.quarantine.scale
        self.optimizer.update(rate, scale)
        self.optimizer.zero_grad()
        self.stage.after_step(rate * scale)
        finite = [
            terms["total"].isfinite(),
            norms.isfinite(),
            weights_are_finite(self.parameters.values()),
        ]
        holds = self.quarantine.judge(finite, self.global_step + 1)
        self.optimizer.undo(~holds, kept)
        if self.averages:
            self.averages.update(holds)
        self.step += 1
        return self._records(terms, rate, start)

    def _gradients(self, parts: int) -> dict[str, Tensor]:
        """Of a step's micro-batches, each in so many parts; returns each term, [concepts]."""
        # Of an attempt that memory ended:
        self.optimizer.zero_grad()
        self.backbone.denoiser.begin_step()
        terms: dict[str, Tensor] = {}
        count = len(self._micro_batches) * parts
        for number in range(count):
            for name, value in self._backward(*divmod(number, parts), parts).items():
                terms[name] = terms.get(name, 0) + value / count
        if self._loss_scale != 1:
            for parameter in self.parameters.values():
                if parameter.grad is not None:
                    parameter.grad /= self._loss_scale
        return terms

    def _backward(self, number: int, part: int = 0, parts: int = 1) -> dict[str, Tensor]:
        """Gradients of one of this rank's micro-batches, or of a part; each term, [concepts]."""
        run, backbone, own = self.run, self.backbone, self._micro_batches[number]
        size = len(own) // parts
        pairs = own[part * size : (part + 1) * size]
        draws = step_draws(run, self.active, self.stage.name, self.step, pairs)
        instance = noisy_batch(
            self.latents,
            draws,
            self.stage.features(draws),
            backbone,
            gate=self.stage.gate(draws),
            settings=run.denoising,
        )
        batches = {"denoising": instance} | self.stage.batches(draws, instance)
        errors = losses(list(batches.values()), self.projections, backbone)
        terms = {
            name: Penalty(weight=batch.weight, value=error)
            for (name, batch), error in zip(batches.items(), errors, strict=True)
        } | self.stage.penalties(draws)
        total = torch.stack([term.weight * term.value for term in terms.values()]).sum(0)
        (total.sum() * self._loss_scale / (len(self._micro_batches) * parts)).backward()
        values = {name: term.value for name, term in terms.items()} | {"total": total}
        return {name: value.detach() for name, value in values.items()}

    @torch.no_grad()
    def _gradient_norms(self) -> Tensor:
        grads = [p.grad for p in self.parameters.values() if p.grad is not None]
        return vector_norm(torch.stack([vector_norm(g.flatten(1), dim=1) for g in grads]), dim=0)

    def _clip(self, norms: Tensor) -> None:
        clip(self.parameters.values(), norms, self.stage.max_grad_norm)

    def _records(self, terms: dict[str, Tensor], rate: float, start: float) -> list[StepRecord]:
        """What the step did; here its results come to the host."""
        shifts = [None] * len(self.texts)
        watch = self.stage_index == 1 and self.step % DRIFT_EVERY == 0
        if watch and self.text_shift and (edit := self.saved_edits().drifting):
            shifts = self.text_shift.measure(edit)
        columns = [*(value.double() for value in terms.values()), *self._quarantine_columns()]
        *values, strikes, steps, whats = torch.stack(columns).tolist()
        active = [not ended(before) for before in self._strikes]
        scales = [
            factor * (0.5 if before else 1.0)
            for factor, before in zip(self.optimizer.factors(), self._strikes, strict=True)
        ]
        self._host_quarantine(strikes, steps, whats)
        seconds = time.perf_counter() - start
        return [
            StepRecord(
                concept=concept.name,
                stage=self.stage.name,
                step=self.step,
                global_step=self.global_step,
                losses={name: value[n] for name, value in zip(terms, values, strict=True)},
                learning_rate=rate * scales[n],
                drift=shifts[n],
                seconds=seconds,
                fault=self._fault(n) if self._faults[n][0] == self.global_step else None,
            )
            for n, concept in enumerate(self.active)
            if active[n]
        ]

    def _quarantine_columns(self) -> list[Tensor]:
        return [self.quarantine.strikes.double(), *self.quarantine.last.T.double()]

    def _host_quarantine(self, *columns: list[float]) -> None:
        strikes, steps, whats = ([int(number) for number in column] for column in columns)
        self._strikes, self._faults = strikes, [list(f) for f in zip(steps, whats, strict=True)]

    def _fault(self, n: int) -> str:
        """A concept's last strike in words; its timesteps are drawn again from the step."""
        (at, what), concept = self._faults[n], self.active[n]
        timesteps = len(self.backbone.alphas_cumprod)
        return fault_line(self.run, concept, at, what, self._strikes[n], timesteps)

    def quarantined(self) -> dict[str, str]:
        """What happened to each concept that is in quarantine, by name."""
        here = {p: self._fault(n) for n, p in enumerate(self.places) if ended(self._strikes[n])}
        return {self.concepts[n].name: line for n, line in sorted((self._lines | here).items())}

    def saved_edits(self) -> Edits:
        """The edits that adapters hold: the averaged ones, if there are any."""
        values = self.averages.values if self.averages else self.optimizer.averaged()
        return self.edits.with_values(values) if values else self.edits

    def adapters(self) -> list[Adapter]:
        """Each concept of `active` as it stands now."""
        edits = self.saved_edits()
        return [adapter_of(self, n, edits) for n in range(len(self.active))]

    def state(self) -> dict[str, Tensor]:
        """Everything that training changes, as named tensors; the first dimension is `concepts`."""
        rows = self._rows()
        return whole(rows, self.places, self._left) if self._left else rows

    def _rows(self) -> dict[str, Tensor]:
        """`state` of those who are in the batch."""
        tensors = {"vectors": self.inversion.vectors} | self.quarantine.state()
        if self.stage_index == 1:
            tensors |= {f"edit.{name}": p for name, p in self.edits.parameters().items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.tensors().items()}
        if self.averages:
            tensors |= self.averages.state()
        return {name: tensor.detach() for name, tensor in tensors.items()}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Set the state to a checkpoint's.

        Raises:
            UserError: it is whole, but no state of this run.
        """
        self._load(checkpoint.tensors, checkpoint.stage, checkpoint.step)

    def _load(self, tensors: dict[str, Tensor], stage: int, step: int) -> None:
        refuse_unfit(tensors, {"vectors": self.inversion.vectors})
        with torch.no_grad():
            self.inversion.vectors.copy_(tensors["vectors"])
            if stage == 1:
                self._enter(1)
            if stage != self.stage_index or not 0 <= step <= self.stage.settings.steps:
                raise UserError(f"is of step {step} of stage {stage + 1}, which this run has not")
            refuse_unfit(tensors, self._rows(), exactly=True)
            if stage == 1:
                for name, parameter in self.edits.parameters().items():
                    parameter.copy_(tensors[f"edit.{name}"])
        self.step = step
        own = {name: tensors[f"optimizer.{name}"] for name in self.optimizer.tensors()}
        self.optimizer.load(own)
        if self.averages:
            self.averages.restore(tensors)
        self.quarantine.restore(tensors)
        self._host_quarantine(*torch.stack(self._quarantine_columns()).tolist())
