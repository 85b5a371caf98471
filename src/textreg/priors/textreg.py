"""TextReg: hold the model still with text prompts alone (METHOD 4-5), soft or hard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from textreg.concept_texts import ConceptTexts
from textreg.config import Run
from textreg.errors import UserError
from textreg.method.text_projections import TextProjections
from textreg.method.text_regularizer import (
    class_prior_loss,
    edit_prior_loss,
    gram,
    pinned_basis,
    project_out,
    squared_prior_loss,
)
from textreg.priors import Penalty, Prior
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

    def check(self, texts: Sequence[ConceptTexts]) -> None:
        """Encode the class pools, and in hard mode find the directions to pin.

        Raises:
            UserError: hard mode would leave fewer directions than the edit's rank.
        """
        pools = [class_prompts(t.concept, self._settings) for t in texts]
        self._class = [t.features(pool, None) for t, pool in zip(texts, pools, strict=True)]
        self._pinned = [pinned_basis(c) for c in self._class] if self._settings.hard else []
        for basis in self._pinned:
            free = basis.shape[0] - basis.shape[1]
            if free < self._rank:
                raise UserError(
                    f"hard mode pins {basis.shape[1]} of this base's {basis.shape[0]} text "
                    f"directions; the {free} left are fewer than --rank {self._rank}: hold "
                    "fewer class prompts (textreg.class_templates: one) or lower --rank"
                )

    def setup(
        self, texts: Sequence[ConceptTexts], vectors: Tensor, projections: TextProjections
    ) -> None:
        """Encode the edit pools with the learned words, and bring the edit where it may be."""
        self._projections = projections
        settings = self._settings
        edits = [t.fill(edit_templates(t.concept, settings.edit_prompts)) for t in texts]
        states = (False, True) if self._mask_ratio else (False,)
        self._edit = [
            torch.stack([t.features(pool, vector, masked=m) for m in states], dim=1)
            for t, pool, vector in zip(texts, edits, vectors, strict=True)
        ]
        if settings.form == "squared":
            self._class_gram = torch.cat([gram(c[None]) for c in self._class])
            self._edit_gram = torch.cat([self._pooled_edit(e) for e in self._edit])
        self.after_step()

    def _pooled_edit(self, features: Tensor) -> Tensor:
        """G of one edit pool [P, mask states, T, d]: the expectation over prompts and draws."""
        rho = self._mask_ratio
        share = [1 - rho, rho] if features.shape[1] == 2 else [1.0]
        weights = features.new_tensor(share).repeat(len(features)) / len(features)
        return gram(features.flatten(0, 1)[None], weights)

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        """The class-prior and the edit-prior term; with weight 0 (or hard, for the class) none."""
        terms: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "edit_prior": (self._settings.edit_weight, lambda: self._edit_term(draws))
        }
        if not self._settings.hard:
            terms["class_prior"] = (self._settings.class_weight, lambda: self._class_term(draws))
        return {
            name: Penalty(weight=weight, value=term())
            for name, (weight, term) in terms.items()
            if weight
        }

    def _class_term(self, draws: Sequence[Sequence[Draws]]) -> Tensor:
        if self._settings.form == "squared":
            return squared_prior_loss(self._projections, self._class_gram, keys_only=False)
        return class_prior_loss(self._projections, drawn(self._class, draws, "class prompt"))

    def _edit_term(self, draws: Sequence[Sequence[Draws]]) -> Tensor:
        if self._settings.form == "squared":
            return squared_prior_loss(self._projections, self._edit_gram, keys_only=True)
        chosen = [
            torch.stack([self._edit_sample(pool, draw) for draw in samples])
            for pool, samples in zip(self._edit, draws, strict=True)
        ]
        return edit_prior_loss(self._projections, torch.stack(chosen))

    def _edit_sample(self, pool: Tensor, draw: Draws) -> Tensor:
        masked = draw.uniform("edit mask") < self._mask_ratio
        return pool[draw.index("edit prompt", len(pool)), int(masked)]

    def after_step(self) -> None:
        """Hard mode: A <- A (I - U U')."""
        edit = self._projections.edit
        if edit is not None:
            for concept, basis in enumerate(self._pinned):
                project_out(edit, concept, basis)
