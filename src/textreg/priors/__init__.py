"""Ways to keep what the model knew: one small file each behind one protocol.

A prior is a file of this folder with one subclass of `Prior` in it, found by the file's name:
class_images.py is `--prior class-images`. docs/priors.md shows how to add one. Imports no torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textreg.config import Run
from textreg.errors import UserError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from textreg.batch import Batch
    from textreg.concept_texts import ConceptTexts
    from textreg.encoded_views import EncodedViews
    from textreg.method.text_projections import TextProjections
    from textreg.method.token_gate import EditedTokens
    from textreg.randomness import Draws

_ONLY_WITH_GATED = "weight-decay"
"""Without the identifier a gated edit is zero already; the other priors have nothing to hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Penalty:
    """One term of the loss: its weight and its value of each concept, [concepts]."""

    weight: float
    value: Tensor


class Prior:
    """What a prior may do in stage 2; a prior overrides what it needs.

    Each concept's randomness comes from its own draws, so that it does not depend on who shares
    the batch; draws[n][s] is sample s of concept n.
    """

    edited_tokens: EditedTokens = "all"
    """Whose keys and values the edit changes, in training and when pictures are drawn."""

    anywhere: bool = False
    """Whether it means something for edits of other projections than those that read the text; then
    what it reads of prompts follows an edit of the text encoder (prompt_pools.py)."""

    samples: int = 1
    """Samples in a pass of the denoiser for each of the instance's, with what `batches` adds."""

    def __init__(self, run: Run):
        """Read the settings, before a base is loaded.

        Raises:
            UserError: what in them cannot be.
        """

    def check(self, texts: Sequence[ConceptTexts]) -> None:
        """Refuse what cannot work, before anything trains or is written.

        Raises:
            UserError: what to change.
        """

    def collect(
        self, texts: Sequence[ConceptTexts], folder: Path, encoded: EncodedViews | None = None
    ) -> Iterator[str]:
        """Slow work before the first step; what it makes stays in the run's folder.

        Args:
            texts: of each concept.
            folder: the run's.
            encoded: as in `Latents`, for a prior that has pictures of its own.

        Yields:
            Lines that say how far it is. Stopped between two, it goes on from there next time.
        """
        return iter(())

    def setup(
        self, texts: Sequence[ConceptTexts], vectors: Tensor, projections: TextProjections
    ) -> None:
        """Compute once what stays constant while the edit trains."""

    def batches(self, draws: Sequence[Sequence[Draws]], instance: Batch) -> dict[str, Batch]:
        """Samples that join the instance's in the denoiser, each with its own term, by name."""
        return {}

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        """Terms on the edit alone, by name."""
        return {}

    def after_step(self) -> None:
        """Move the edit back to where it may be."""


class _Joined(Prior):
    """Several priors as one."""

    def __init__(self, priors: Sequence[Prior]):
        self._priors = priors
        kinds: list[EditedTokens] = [prior.edited_tokens for prior in priors]
        self.edited_tokens = "identifier" if "identifier" in kinds else "all"
        self.samples = 1 + sum(prior.samples - 1 for prior in priors)

    def check(self, texts: Sequence[ConceptTexts]) -> None:
        for prior in self._priors:
            prior.check(texts)

    def collect(
        self, texts: Sequence[ConceptTexts], folder: Path, encoded: EncodedViews | None = None
    ) -> Iterator[str]:
        for prior in self._priors:
            yield from prior.collect(texts, folder, encoded)

    def setup(
        self, texts: Sequence[ConceptTexts], vectors: Tensor, projections: TextProjections
    ) -> None:
        for prior in self._priors:
            prior.setup(texts, vectors, projections)

    def batches(self, draws: Sequence[Sequence[Draws]], instance: Batch) -> dict[str, Batch]:
        return {k: v for prior in self._priors for k, v in prior.batches(draws, instance).items()}

    def penalties(self, draws: Sequence[Sequence[Draws]]) -> dict[str, Penalty]:
        return {k: v for prior in self._priors for k, v in prior.penalties(draws).items()}

    def after_step(self) -> None:
        for prior in self._priors:
            prior.after_step()


def names() -> list[str]:
    """Every prior there is."""
    return sorted(found.name.replace("_", "-") for found in pkgutil.iter_modules(__path__))


def split(text: str) -> list[str]:
    """The priors that "textreg+context" joins.

    Raises:
        UserError: one of them does not exist, stands twice, or makes no sense beside another.
    """
    parts = text.split("+")
    for part in parts:
        if part not in names():
            raise UserError(f"--prior {text}: no prior {part!r}; {nearest(part, names())}")
    if len(set(parts)) < len(parts) or ("none" in parts and len(parts) > 1):
        raise UserError(f"--prior {text}: name each prior once, and none alone")
    if "gated" in parts and set(parts) - {"gated", _ONLY_WITH_GATED}:
        raise UserError(
            f"--prior {text}: a gated edit changes nothing on prompts without the identifier, so "
            f"beside gated only {_ONLY_WITH_GATED} has something to hold"
        )
    return parts


def prior_of(run: Run) -> Prior:
    """The prior that a run names, or the priors that it joins.

    Raises:
        UserError: there is no such prior, its settings cannot be, or it has no meaning for what the
            run edits.
    """
    kinds = {name: _kind(name) for name in split(run.prior)}
    for name, kind in kinds.items():
        if (why := _no_meaning(run, name)) and not kind.anywhere:
            others = [other for other in names() if _kind(other).anywhere]
            raise UserError(f"{why}; choose --prior {' or '.join(others)}")
    return _Joined([kind(run) for kind in kinds.values()])


def samples_of(run: Run) -> int:
    """Samples in a run's largest pass of the denoiser for each of the instance's."""
    return prior_of(run).samples if run.tuning.steps else 1


def _no_meaning(run: Run, name: str) -> str | None:
    """Why a rule about keys and values of given text has no meaning for what a run edits."""
    if run.tuning.placement != "cross-kv":
        return (
            f"--placement {run.tuning.placement}: prior {name} is a rule about the keys and values "
            "that text alone decides, and has no meaning for other projections"
        )
    if run.tuning.text_encoder_rank:
        return (
            f"--text-encoder-rank {run.tuning.text_encoder_rank}: prior {name} is a rule about "
            "text as the base reads it, and this changes how it is read"
        )
    return None


def _kind(name: str) -> type[Prior]:
    """The one prior that a file of this folder defines."""
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    (kind,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Prior)
        and value.__module__ == module.__name__
    ]
    return kind
