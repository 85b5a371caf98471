"""What a run draws while it trains: its prompts, as each concept's words make them."""

from __future__ import annotations

from textreg.backbone import Backbone
from textreg.captions import TRIGGER
from textreg.concept_texts import ConceptTexts
from textreg.config import Run


def sample_prompts(run: Run, words: str) -> list[str]:
    """The run's own prompts for a concept; none: it names none.

    Args:
        run: the run.
        words: of the concept, as in "<krk1> cat".
    """
    return [prompt.replace(TRIGGER, words) for prompt in run.sample_prompts]


def check_prompts(run: Run, backbone: Backbone) -> None:
    """Refuse now, for all concepts, what would be refused when the first picture is due.

    Raises:
        UserError: a prompt in which an identifier is cut off.
    """
    if not (run.sample_every and run.sample_prompts):
        return
    for concept in run.concepts:
        texts = ConceptTexts.of(concept, backbone, vectors=run.inversion.vectors)
        texts.tokens(sample_prompts(run, texts.words))
