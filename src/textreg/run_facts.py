"""What a run's record says for the metadata of its files: how the concept was trained."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from textreg.adapter.about import Facts, base_name
from textreg.config import Concept, Run
from textreg.prompts import class_prompts, edit_templates
from textreg.run_record import read_record


def facts_of(
    folder: Path,
    run: Run,
    concept: Concept,
    *,
    resolution: int,
    prediction_type: str,
    steps: int | None = None,
) -> Facts:
    """Facts of one concept.

    Args:
        folder: the run's, with run.yaml and metrics.jsonl.
        run: its settings.
        concept: one of its concepts.
        resolution: the base's own picture side, in pixels.
        prediction_type: the base's.
        steps: of stage 2; none: all of them.
    """
    base = base_name(run.base)
    if not run.total_steps:
        # An imported concept: nobody here knows more.
        return Facts(base=base, prediction_type=prediction_type)
    more = {"textreg.prior": run.prior}
    if "textreg" in run.prior:
        pools = [
            class_prompts(concept, run.textreg),
            edit_templates(concept, run.textreg.edit_prompts),
        ]
        more["textreg.prompts"] = hashlib.sha256(json.dumps(pools).encode()).hexdigest()[:16]
        more["textreg.class_weight"] = "hard" if run.textreg.hard else str(run.textreg.class_weight)
        more["textreg.edit_weight"] = str(run.textreg.edit_weight)
    if "context" in run.prior:
        more["textreg.context_weight"] = str(run.context.weight)
    steps = run.tuning.steps if steps is None else steps
    if drift := _last_drift(folder / "metrics.jsonl", concept, steps):
        more["textreg.drift"] = json.dumps(drift)
    pictures = read_record(folder).get("pictures") or {}
    return Facts(
        base=base,
        prediction_type=prediction_type,
        resolution=run.images.resolution or resolution,
        seed=run.seed,
        steps=run.inversion.steps + steps,
        pictures=len(pictures.get(concept.name, ())) or None,
        more=tuple(more.items()),
    )


def _last_drift(metrics: Path, concept: Concept, steps: int) -> dict[str, float] | None:
    """The text shift of the last step that measured it, by prompt pool; four digits tell enough."""
    if not metrics.is_file():
        return None
    for text in reversed(metrics.read_text(encoding="utf-8").splitlines()):
        line = json.loads(text)
        if line["concept"] == concept.name and "drift" in line and line["step"] <= steps:
            return {pool: float(f"{value:.3e}") for pool, value in line["drift"].items()}
    return None
