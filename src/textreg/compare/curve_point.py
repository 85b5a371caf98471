"""One state of a run as a point of the plot: fidelity and epsilon-drift, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from textreg.adapter import Adapter
from textreg.concept import read_picture
from textreg.evaluate import score
from textreg.evaluate.evaluation import draw_planned, measure_epsilon
from textreg.evaluate.features import Extractor
from textreg.evaluate.featurise import Read, read_pictures
from textreg.evaluate.generate import read_drawn
from textreg.evaluate.model_pair import Base, ModelPair
from textreg.evaluate.options import Options, sampling_of
from textreg.evaluate.questions import Questions
from textreg.evaluate.shots import Place, planned_shots
from textreg.evaluate.subjects import Subject

_PLACES: tuple[Place, ...] = (("base", "class"), ("tuned", "concept"))


def curve_point(
    subject: Subject,
    questions: Questions,
    base: Base,
    extractor: Extractor,
    options: Options,
    store: Path,
    tell: Callable[[str, int, int], object],
) -> dict[str, Any]:
    """Fidelity, and epsilon-drift by pool as a share, by evaluate's own functions.

    Args:
        subject: its folder holds the state's adapter.
        questions: what is asked.
        base: the model that was tuned.
        extractor: gives fidelity.
        options: as in `evaluate`.
        store: shared with everything that is compared.
        tell: as in `evaluate`.
    """
    adapter = Adapter.load(subject.folder)
    models = ModelPair(base, adapter, subject.files)
    shots = planned_shots(subject.concept, adapter, questions, options.num_images, options.seed)
    planned = [shot for shot in shots if (shot.model, shot.pool) in _PLACES]
    drawn = draw_planned(planned, models, sampling_of(options, questions), store, tell)

    def read(place: Place) -> Read:
        keys = drawn.keys(*place)
        return read_pictures(extractor, keys, lambda: read_drawn(store, keys), store)

    photos = read_pictures(
        extractor,
        [photo.sha256 for photo in subject.photos],
        lambda: [read_picture(photo.path) for photo in subject.photos],
        store,
    )
    seen = score.Seen(
        reads={place: read(place) for place in _PLACES},
        photos=photos.features,
        edit_texts=None,
        attributes={},
        questions={},
    )
    epsilon = measure_epsilon(subject.concept, questions, models, options, store, tell)
    return {
        "fidelity": score.fidelity(seen, options.seed)["score"],
        "drift": {pool: found["share"]["value"] for pool, found in epsilon.items()},
    }


def point_of(row: dict[str, Any]) -> dict[str, Any]:
    """The same of a whole row."""
    shares = row["drift"]["epsilon_shares"]
    return {
        "fidelity": row["fidelity"]["score"],
        "drift": {pool: found["value"] for pool, found in shares.items()},
    }
