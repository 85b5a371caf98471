"""What one step did to one concept, for progress, logs, tests and metrics.jsonl."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """What one step did to one concept."""

    concept: str
    stage: str
    step: int
    """Steps done in this stage."""
    global_step: int
    """Steps done in both."""
    losses: dict[str, float]
    """Unweighted terms by name, and "total"."""
    learning_rate: float
    drift: dict[str, float] | None
    """Text shift ||dW c|| / ||W c|| by prompt pool, every tenth step of stage 2."""
    seconds: float
    front: dict[str, float] | None = None
    """Loss of the fixed draws, mean drift, and the best step so far, at a tenth of stage 2."""
    fault: str | None = None
    """Why this step was not taken, if so."""


def metrics_line(record: StepRecord) -> dict[str, Any]:
    """A record as it stands in metrics.jsonl."""
    line = {k: v for k, v in asdict(record).items() if v is not None}
    # JSON has no NaN.
    line["losses"] = {k: v if math.isfinite(v) else None for k, v in record.losses.items()}
    return line
