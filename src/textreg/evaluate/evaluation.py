"""`textreg evaluate`: generate, featurise, score, report; each step keeps what it made.

A second call makes nothing anew, and one that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textreg.adapter import Adapter
from textreg.adapter.about import base_name
from textreg.concept import read_picture
from textreg.config import Concept
from textreg.errors import UserError
from textreg.evaluate import score
from textreg.evaluate.features import (
    AttributeReader,
    Extractor,
    refuse_none_or_twice,
    refuse_unfit,
)
from textreg.evaluate.featurise import Read, picture_change, read_pictures, read_prompts
from textreg.evaluate.generate import (
    Sampling,
    draw,
    picture_key,
    picture_path,
    read_drawn,
    write_manifest,
)
from textreg.evaluate.left_out import left_out
from textreg.evaluate.model_pair import Base, ModelPair
from textreg.evaluate.options import Options, refuse_unfit_steps, sampling_of
from textreg.evaluate.probe import epsilon_pools, probe_epsilon, probe_identifier
from textreg.evaluate.questions import Questions, questions_for
from textreg.evaluate.report import MADE_BY, ConceptPage, refuse_foreign, write_report
from textreg.evaluate.row import report_row
from textreg.evaluate.shots import Drawn, Place, PoolName, Shot, planned_shots
from textreg.evaluate.store import digest, kept_json
from textreg.evaluate.subjects import Subject, quarantined, subjects_of
from textreg.out_of_memory import memory_of
from textreg.prompts import Pool
from textreg.run_record import is_one_of
from textreg.writable_folder import open_folder

Tell = Callable[[str, int, int], object]
"""Told (step, done, of how many)."""


@memory_of("evaluating", "a lower --batch-size")
def evaluate(
    folder: Path,
    extractors: Sequence[Extractor],
    options: Options | None = None,
    *,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Measure what a run did to its base model; write report.json and report.html.

    Args:
        folder: the run's.
        extractors: the first gives fidelity, the first that can gives editability; all give the
            distances of picture sets.
        options: sizes and places.
        tell: told how far each step is.

    Returns:
        The content of report.json.

    Raises:
        UserError: anything that cannot work, before anything slow.
    """
    options = options or Options()
    if options.num_images < 2:
        raise UserError(f"--num-images is {options.num_images}; evaluate needs at least 2")
    refuse_none_or_twice(extractors)
    tell = tell or (lambda step, done, total: None)
    subjects = subjects_of(folder, options.images)
    run = subjects[0].run
    lost = quarantined(run) if is_one_of(folder, (run.out,)) else []
    out = options.out or folder
    refuse_foreign((out / "report.json", out / "report.html"), MADE_BY)
    tell("reading the base", 0, 1)
    base = Base(
        options.base or run.base,
        None if options.base else run.revision,
        options.device,
        options.dtype,
    )
    base.refuse_run_of_another(run)
    asked = [
        questions_for(s.concept, s.run.textreg, base.folder, options.prompts, s.trained_on)
        for s in subjects
    ]
    for extractor in extractors:
        refuse_unfit(extractor, base.side, [edit for each in asked for edit in each.edits])
    refuse_unfit_steps(options, asked[0], base)
    store = run.out / "evaluation"
    open_folder(out, "--out " if options.out else "")
    open_folder(store)
    pages = [
        measure(subject, questions, base, extractors, options, store, tell)
        for subject, questions in zip(subjects, asked, strict=True)
    ]
    how = sampling_of(options, asked[0])
    content: dict[str, Any] = {
        # Its place tells others nothing and may tell too much; the hash says which base.
        "base": base_name(options.base or run.base),
        "rows": [page.row for page in pages],
        "features": [{"name": e.name, "sha256": e.digest} for e in extractors],
        "settings": {
            "num_images": options.num_images,
            "epsilon_prompts": options.epsilon_prompts,
            "seed": options.seed,
            "steps": how.steps,
            "guidance": how.guidance,
            "sampler": how.sampler,
            "base_sha256": base.key,
        },
        "left_out": left_out(pages, options.num_images, options.epsilon_prompts)
        + [f"{name}: ended in quarantine, so there is nothing to evaluate" for name in lost],
    }
    return write_report(out, content, pages)


def measure(
    subject: Subject,
    questions: Questions,
    base: Base,
    extractors: Sequence[Extractor],
    options: Options,
    store: Path,
    tell: Tell,
) -> ConceptPage:
    """All four steps but the last, for one concept.

    Args:
        subject: the concept.
        questions: what is asked.
        base: the model that was tuned.
        extractors: as in `evaluate`.
        options: sizes.
        store: keeps what the steps make; several runs may share it.
        tell: told how far each step is.
    """
    adapter = Adapter.load(subject.folder)
    models = ModelPair(base, adapter, subject.files)
    planned = planned_shots(subject.concept, adapter, questions, options.num_images, options.seed)
    drawn = draw_planned(planned, models, sampling_of(options, questions), store, tell)
    write_manifest(subject.run.out / "evaluation" / subject.manifest, drawn.shots)
    epsilon = measure_epsilon(subject.concept, questions, models, options, store, tell)
    probe = probe_identifier(models, subject.concept, questions, options.seed, store)
    identifier = score.score_identifier(probe, options.seed)
    by_extractor: dict[str, dict[str, Any]] = {}
    for number, extractor in enumerate(extractors):
        tell(f"looking with {extractor.name}", number, len(extractors))
        by_extractor[extractor.name] = _look(
            subject, questions, extractor, drawn, options.seed, store
        )
    pools: tuple[PoolName, ...] = ("class", "neighbours", "general")
    change = {
        pool: picture_change(drawn.keys("base", pool), drawn.keys("tuned", pool), store)
        for pool in pools
    }
    row = report_row(
        subject,
        by_extractor,
        epsilon,
        identifier,
        score.score_change(change, options.seed),
        attributes=any(isinstance(e, AttributeReader) for e in extractors),
    )
    return ConceptPage(subject=subject, questions=questions, row=row, drawn=drawn, store=store)


def draw_planned(
    planned: Sequence[Shot], models: ModelPair, how: Sampling, store: Path, tell: Tell
) -> Drawn:
    """Step 1: every picture that is planned and not there."""
    drawn = Drawn([(picture_key(shot, models.keys[shot.model], how), shot) for shot in planned])
    done = sum(picture_path(store, key).is_file() for key, _ in drawn.shots)
    if done < len(planned):
        # An adapter of another base, or a word that is cut off, is refused before anything slow.
        models("tuned").tokens([shot.prompt for shot in planned if shot.model == "tuned"])
    # All of the base's first: each model is put together once.
    for _ in draw(sorted(drawn.shots, key=lambda item: item[1].model), models, how, store):
        done += 1
        tell("drawing", done, len(planned))
    return drawn


def measure_epsilon(
    concept: Concept,
    questions: Questions,
    models: ModelPair,
    options: Options,
    store: Path,
    tell: Tell,
) -> dict[str, Any]:
    """Epsilon-drift by pool; needs no pictures of the tuned model."""
    pools = epsilon_pools(concept, questions, options.epsilon_prompts)
    probes: dict[Pool, Any] = {}
    for number, (pool, prompts) in enumerate(pools.items()):
        tell(f"drift of {pool} prompts", number, len(pools))
        probes[pool] = probe_epsilon(models, prompts, options.seed, store, options.batch_size)
    return score.score_epsilon(probes, pools, options.seed)


def _look(
    subject: Subject,
    questions: Questions,
    extractor: Extractor,
    drawn: Drawn,
    seed: int,
    store: Path,
) -> dict[str, Any]:
    """Step 3 on what step 2 sees; neither runs if the numbers are kept."""
    photos, edits, noun = subject.photos, questions.edits, subject.concept.noun

    def read(place: Place) -> Read:
        keys = drawn.keys(*place)
        return read_pictures(extractor, keys, lambda: read_drawn(store, keys), store)

    def make() -> dict[str, Any]:
        seen = score.Seen(
            reads={place: read(place) for place in drawn.places},
            photos=read_pictures(
                extractor,
                [photo.sha256 for photo in photos],
                lambda: [read_picture(photo.path) for photo in photos],
                store,
            ).features,
            edit_texts=read_prompts(extractor, [edit.of(noun) for edit in edits], store),
            attributes=extractor.attributes if isinstance(extractor, AttributeReader) else {},
            questions={p: [s.question for _, s in drawn.at(*p)] for p in drawn.places},
        )
        return score.score_features(
            seen, noun=noun, neighbours=questions.neighbours, edits=edits, seed=seed
        )

    decided = [
        [extractor.name, extractor.digest],
        [key for key, _ in drawn.shots],
        [photo.sha256 for photo in photos],
        asdict(questions),
        noun,
        seed,
    ]
    key = digest("score", score.VERSION, decided)
    return kept_json(store / "scores" / f"{key}.json", make)
