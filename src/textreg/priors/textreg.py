"""TextReg: hold the model still with text prompts alone (METHOD 4-5), soft or hard."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.errors import UserError
from textreg.method.text_projections import TextProjections
from textreg.method.text_regularizer import (
    ProjectOut,
    class_prior_loss,
    edit_prior_loss,
    gram,
    pinned_basis,
    prior_losses,
    squared_prior_loss,
)
from textreg.priors import Penalty, Prior
from textreg.prompt_pools import PromptPools
from textreg.prompts import class_prompts, edit_templates
from textreg.randomness import Draws, drawn


class TextReg(Prior):
    """L = L_denoise + alpha L_cpp + beta L_epp; hard mode pins the class prompts exactly instead.

    Class and edit prompts' features are constant in stage 2, so they are computed once.
    """

    def __init__(self, run: Run):
        self._settings = run.textreg
        self._mask_ratio = run.mask.ratio if run.mask.in_tuning else 0.0
        self._rank = run.tuning.rank
        weights = {"edit_prior": run.textreg.edit_weight}
        if not run.textreg.hard:
            weights["class_prior"] = run.textreg.class_weight
        self._weights = {name: weight for name, weight in weights.items() if weight}

    def check(self, texts: Sequence[ConceptTexts]) -> None:
        """Encode the class pools, and in hard mode find the directions to pin.

        Raises:
            UserError: hard mode would leave fewer directions than the edit's rank.
        """
        pools = [class_prompts(t.concept, self._settings) for t in texts]
        self._class = [t.features(pool, None) for t, pool in zip(texts, pools, strict=True)]
        self._project_out: ProjectOut | None = None
        if not self._settings.hard:
            return
        pinned = [pinned_basis(c) for c in self._class]
        for basis in pinned:
            free = basis.shape[0] - basis.shape[1]
            if free < self._rank:
                raise UserError(
                    f"hard mode pins {basis.shape[1]} of this base's {basis.shape[0]} text "
                    f"directions; the {free} left are fewer than --rank {self._rank}: hold "
                    "fewer class prompts (textreg.class_templates: one), lower --rank, or hold "
                    "them softly (textreg.hard: false)"
                )
        self._project_out = ProjectOut(pinned)

    def setup(
        self, texts: Sequence[ConceptTexts], vectors: Tensor, projections: TextProjections
    ) -> None:
        """Encode the edit pools with the learned words, and bring the edit where it may be."""
        self._projections = projections
        settings = self._settings
        if settings.form == "squared":
            self._class_gram = torch.cat([gram(c[None]) for c in self._class])
        if "edit_prior" in self._weights:
            pools = [t.fill(edit_templates(t.concept, settings.edit_prompts)) for t in texts]
            if settings.form == "squared":
                each = [self._pooled(*one) for one in zip(texts, pools, vectors, strict=True)]
                self._edit_gram = torch.cat(each)
            else:
                self._edits = PromptPools(texts, pools, vectors, masked=self._mask_ratio > 0)
        self.after_step()

    def _pooled(self, texts: ConceptTexts, prompts: Sequence[str], vector: Tensor) -> Tensor:
        """G of one edit pool, [1, d, d]: the expectation over prompts and draws of the mask."""
        rho = self._mask_ratio
        shares = {False: 1 - rho, True: rho} if rho else {False: 1.0}
        states = [texts.features(prompts, vector, masked=m) for m in shares]
        features = torch.stack(states, dim=1)
        weights = features.new_tensor(list(shares.values())).repeat(len(prompts)) / len(prompts)
        return gram(features.flatten(0, 1)[None], weights)

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        """The class-prior and the edit-prior term; with weight 0 (or hard, for the class) none."""
        values = self._squares() if self._settings.form == "squared" else self._norms(draws)
        return {
            name: Penalty(weight=self._weights[name], value=value) for name, value in values.items()
        }

    def _squares(self) -> dict[str, Tensor]:
        return {
            name: squared_prior_loss(
                self._projections,
                self._edit_gram if name == "edit_prior" else self._class_gram,
                keys_only=name == "edit_prior",
            )
            for name in self._weights
        }

    def _norms(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Tensor]:
        if not self._weights:
            return {}
        if "class_prior" not in self._weights:
            return {"edit_prior": edit_prior_loss(self._projections, self._edit_prompts(draws))}
        of_class = drawn(self._class, draws, "class prompt")
        if "edit_prior" not in self._weights:
            return {"class_prior": class_prior_loss(self._projections, of_class)}
        held, kept = prior_losses(self._projections, of_class, self._edit_prompts(draws))
        return {"edit_prior": kept, "class_prior": held}

    def _edit_prompts(self, draws: Sequence[Sequence[Draws]]) -> Tensor:
        """A random edit prompt, masked or not, for each sample, [N, S, T, d]."""
        return self._edits.rows(*self._edits.drawn(draws, "edit", self._mask_ratio)).tokens

    def after_step(self) -> None:
        """Hard mode: A <- A (I - U U')."""
        edit = self._projections.edit
        if edit is not None and self._project_out is not None:
            self._project_out(edit)
