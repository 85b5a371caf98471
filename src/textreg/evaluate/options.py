"""How an evaluation is made: its sizes and places, and how its pictures are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from textreg.base_shape import check_steps
from textreg.errors import UserError
from textreg.evaluate.generate import Sampling
from textreg.evaluate.model_pair import Base
from textreg.evaluate.questions import Questions
from textreg.sampling import Sampler


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How an evaluation is made; everything but `out` and `batch_size` decides its numbers."""

    out: Path | None = None
    """Where report.json and report.html go; none: the folder that is evaluated."""
    images: Path | None = None
    """The photos' folder, if it has moved."""
    prompts: Path | None = None
    """A file like evaluation.yaml."""
    num_images: int = 24
    """Pictures a pool and model."""
    epsilon_prompts: int = 8
    """Prompts a pool for epsilon-drift."""
    seed: int = 0
    steps: int | None = None
    """Denoising steps; none: the base's own advice."""
    guidance: float | None = None
    """Classifier-free guidance; none: the base's own advice."""
    sampler: Sampler | None = None
    """The noise schedule's solver; none: the base's own advice."""
    batch_size: int = 8
    base: str | None = None
    """Another place of the base that the run names."""
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        """Refuse a size of nothing.

        Raises:
            UserError: names it.
        """
        if self.epsilon_prompts < 1:
            raise UserError(f"--epsilon-prompts is {self.epsilon_prompts}; it must be at least 1")


def refuse_unfit_steps(options: Options, questions: Questions, base: Base) -> None:
    """Refuse more denoising steps than the base has timesteps, wherever they were given.

    Raises:
        UserError: names the most.
    """
    named = "--steps" if options.steps else "steps, of --prompts or the base's evaluation.yaml,"
    check_steps(sampling_of(options, questions).steps, base.timesteps, named)


def sampling_of(options: Options, questions: Questions) -> Sampling:
    """How pictures are drawn: as the options say, else as the base advises."""
    guidance = options.guidance if options.guidance is not None else questions.guidance
    return Sampling(
        steps=options.steps or questions.steps,
        # 4 and 4.0 draw the same picture and must give it the same name.
        guidance=int(guidance) if float(guidance).is_integer() else guidance,
        sampler=options.sampler or questions.sampler,
        batch_size=options.batch_size,
    )
