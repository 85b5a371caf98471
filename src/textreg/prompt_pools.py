"""Prompts of N concepts as text features: kept, or encoded as the text encoder then stands."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from textreg.concept_texts import ConceptTexts
from textreg.method.attention_edit import AttentionEdit
from textreg.method.text_features import TextFeatures, Tokens
from textreg.randomness import Draws


class PromptPools:
    """A pool of finished prompts a concept, of which each step takes some.

    A frozen text encoder reads each prompt once. One with an edit reads at each step the prompts
    that the step takes, all concepts' in one call, and the edit's gradient goes through it.
    """

    def __init__(
        self,
        texts: Sequence[ConceptTexts],
        prompts: Sequence[Sequence[str]],
        vectors: Tensor | None,
        edit: AttentionEdit | None = None,
        *,
        masked: bool = False,
        kept_rows: Sequence[Tensor] | None = None,
    ):
        """Read the prompts.

        Args:
            texts: of each concept.
            prompts: of each concept.
            vectors: each identifier's, [N, vectors * d]; none: no prompt has one.
            edit: of the text encoders; none: they are the base's.
            masked: whether some of them will be asked for masked.
            kept_rows: of each concept's prompts, [P, T] bool; features of the others are 0.
                None: all are kept. For a frozen text encoder.
        """
        self._backbone, self._vectors, self._edit = texts[0].backbone, vectors, edit
        self._counts = [len(own) for own in prompts]
        self._tokens: list[Tokens] = []
        self._kept: list[TextFeatures] = []
        if edit is not None:
            self._tokens = [t.tokens(own) for t, own in zip(texts, prompts, strict=True)]
            return
        states = (False, True) if masked else (False,)
        words = [None] * len(texts) if vectors is None else list(vectors)
        self._kept = [
            TextFeatures.stack([t.encoded(own, word, masked=m) for m in states], 1)
            for t, own, word in zip(texts, prompts, words, strict=True)
        ]
        for pool, rows in zip(self._kept, kept_rows or (), strict=kept_rows is not None):
            pool.tokens.mul_(rows.to(pool.tokens.device)[:, None, :, None])

    def drawn(
        self, draws: Sequence[Sequence[Draws]], what: str, mask_ratio: float
    ) -> tuple[list[list[int]], list[list[bool]]]:
        """A random prompt for each sample of each concept, and whether it is masked, as for `rows`.

        Args:
            draws: of each concept's samples.
            what: the prompts are, in the names of the streams.
            mask_ratio: share of masked ones.
        """
        pairs = zip(self._counts, draws, strict=True)
        chosen = [[d.index(f"{what} prompt", count) for d in own] for count, own in pairs]
        return chosen, [[d.uniform(f"{what} mask") < mask_ratio for d in own] for own in draws]

    def rows(
        self, chosen: Sequence[Sequence[int]], masked: Sequence[Sequence[bool]] | None = None
    ) -> TextFeatures:
        """Features of S prompts of each concept, tokens [N, S, T, d].

        Args:
            chosen: their numbers.
            masked: which of them are masked where they can be; none: none.
        """
        masks = masked or [[False] * len(own) for own in chosen]
        if self._edit is not None:
            return self._encoded(chosen, masks, self._edit)
        kept = [
            pool[n, int(m)]
            for pool, own, hidden in zip(self._kept, chosen, masks, strict=True)
            for n, m in zip(own, hidden, strict=True)
        ]
        return TextFeatures.stack(kept).unflatten(len(chosen))

    def _encoded(
        self,
        chosen: Sequence[Sequence[int]],
        masks: Sequence[Sequence[bool]],
        edit: AttentionEdit,
    ) -> TextFeatures:
        tokens = Tokens.cat(
            [pool.rows(torch.tensor(own)) for pool, own in zip(self._tokens, chosen, strict=True)]
        )
        vectors = self._vectors
        if vectors is not None:
            vectors = vectors[:, None].expand(-1, len(chosen[0]), -1).flatten(0, 1)
        hidden = torch.tensor([m for own in masks for m in own])
        found = self._backbone.encode(tokens, vectors, hidden, edit.of(range(len(chosen))))
        return found.unflatten(len(chosen))
