"""`textreg compare`: train every cell, measure every state, write one table and one plot.

Each cell is an ordinary run; the same call goes on where it was stopped and makes nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from textreg.backbone import Backbone
from textreg.compare.cell_training import refuse_unfit_cells, train_cells
from textreg.compare.cells import SHARES, Cell, by_place, for_steps, plan_cells, refuse_other_runs
from textreg.compare.content import content_of
from textreg.compare.curve_point import curve_point, point_of
from textreg.compare.equal_time import equal_time, unequal_company
from textreg.compare.failures import compared, failures, not_compared
from textreg.compare.page import MADE_BY, write_comparison
from textreg.compare.summary import not_in_all
from textreg.compare.variants import Variant
from textreg.concept import Folder, inspect_folder
from textreg.config import Images, Run
from textreg.errors import UserError
from textreg.evaluate.evaluation import measure
from textreg.evaluate.features import Extractor, refuse_none_or_twice, refuse_unfit
from textreg.evaluate.model_pair import Base
from textreg.evaluate.options import Options, refuse_unfit_steps, sampling_of
from textreg.evaluate.questions import Questions, questions_for
from textreg.evaluate.report import ConceptPage, refuse_foreign
from textreg.evaluate.sampled_drift import too_few
from textreg.evaluate.subjects import subjects_of, trained_prompts
from textreg.run_folder import RunFolder

Equal = Literal["steps", "time", "both"]
NUM_IMAGES, EPSILON_PROMPTS = 16, 8
"""Pictures and prompts a pool: half of evaluate's, since there are many cells to average."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What is compared, and where that goes."""

    flags: dict[str, Any]
    """Settings that all share, by dotted key; "concepts" holds one entry a concept."""
    variants: tuple[Variant, ...]
    """The priors, the reference first."""
    out: Path
    seeds: int = 3
    """Seeds a concept and prior, counted on from the settings' own."""
    equal: Equal = "both"
    """Compare at equal steps, at equal time, or both."""
    preset: str | None = None
    file: Path | None = None
    """YAML with settings that all share."""
    shares: tuple[float, ...] = SHARES
    """Where, in shares of stage 2, a curve has its points before the last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """What a caller may want to know, and say, while it takes long."""

    step: Callable[[Run, int], bool] = lambda run, done: False
    """Told (run, steps done in it); returning True stops."""
    drawing: Callable[[Path], object] = lambda folder: None
    """Told where class pictures are drawn; until the next step an interrupt loses nothing."""
    measuring: Callable[[Path], object] = lambda folder: None
    """Told which state is measured now; from here on an interrupt loses nothing."""
    tell: Callable[[str, int, int], object] = lambda step, done, total: None
    """As `evaluate`'s."""


def compare(
    comparison: Comparison,
    extractors: Sequence[Extractor],
    options: Options | None = None,
    watch: Watch | None = None,
) -> dict[str, Any] | None:
    """Train, measure and compare; write compare.json, compare.html and pareto.png.

    Runs that end in quarantine are named in its "quarantined" and left out, and with them their
    concept or seed (`failures.compared`).

    Args:
        comparison: what is compared.
        extractors: as in `evaluate`.
        options: as in `evaluate`; its places are not used.
        watch: told how far it is.

    Returns:
        The content of compare.json; none if it was stopped. The same call then goes on.

    Raises:
        UserError: anything that cannot work, before anything slow.
        QuarantineError: so many runs ended in quarantine that nothing is left to compare.
    """
    options, watch = (
        options or Options(num_images=NUM_IMAGES, epsilon_prompts=EPSILON_PROMPTS),
        watch or Watch(),
    )
    out = comparison.out
    if options.num_images < 2:
        raise UserError(f"--num-images is {options.num_images}; compare needs at least 2")
    refuse_none_or_twice(extractors)
    refuse_foreign((out / "compare.json", out / "compare.html"), MADE_BY)
    planned = plan_cells(
        comparison.flags,
        comparison.variants,
        comparison.seeds,
        out,
        preset=comparison.preset,
        file=comparison.file,
        shares=comparison.shares,
    )
    run = planned[0].run
    base = Base(run.base, run.revision, run.device, run.dtype)
    for begun in {run.out: run for cell in planned for run in (cell.word, cell.run)}.values():
        if RunFolder(begun).begun:
            base.refuse_run_of_another(begun)
    asked = shared_questions(planned, base, options)
    for extractor in extractors:
        edits = [edit for questions in asked.values() for edit in questions.edits]
        refuse_unfit(extractor, base.side, edits)
    refuse_unfit_steps(options, next(iter(asked.values())), base)

    def backbone() -> Backbone:
        return base.backbone  # loaded only if something is left to do

    refuse_unfit_cells(planned, asked, backbone, out)
    if not train_cells(planned, backbone, out, watch.step, watch.drawing):
        return None
    kept = compared(planned, out)
    in_time, unequal = _cells_in_time(comparison, [c for c in planned if c.place in kept])
    if not train_cells(in_time, backbone, out, watch.step, watch.drawing):
        return None
    trained = [*planned, *in_time]
    kept &= compared([cell for cell in trained if cell.place in kept], out)
    cells, in_time = ([c for c in some if c.place in kept] for some in (planned, in_time))
    pages = _measure_all(comparison, cells, in_time, asked, base, extractors, options, watch)
    points = [
        point
        for name, _, some in by_place(cells)
        for point in _points(some, asked[name], pages, base, extractors[0], options, watch, out)
    ]
    content = content_of(comparison, cells, in_time, pages, points, extractors, options)
    how = sampling_of(options, next(iter(asked.values())))
    content["settings"] |= {"steps": how.steps, "guidance": how.guidance, "sampler": how.sampler}
    content["settings"]["base_sha256"] = base.key
    left_out = {line for questions in asked.values() for line in questions.left_out}
    content["left_out"] = too_few(options.num_images) + [
        f"edit that training used: {prompt}" for prompt in sorted(left_out)
    ]
    content["quarantined"] = failures(trained, out)
    content["left_out"] += not_in_all(content["rows"]) + not_compared(trained, kept, out) + unequal
    return write_comparison(out, content, cells, pages)


def shared_questions(cells: Sequence[Cell], base: Base, options: Options) -> dict[str, Questions]:
    """By concept: what all priors are asked, so without any edit that any of them trained on."""
    found: dict[str, Questions] = {}
    seen: dict[tuple[Path, Images], Folder] = {}
    for cell in cells:
        run, concept = cell.run, cell.run.concepts[0]
        if (place := (concept.images, run.images)) not in seen:
            unmasked = replace(run.images, masks="off")
            seen[place] = inspect_folder(concept.images, settings=unmasked)
        trained_on = trained_prompts(run, concept, seen[place].annotations)
        own = questions_for(concept, run.textreg, base.folder, options.prompts, trained_on)
        before = found.get(concept.name, own)
        edits = tuple(edit for edit in before.edits if edit in own.edits)
        if not edits:
            raise UserError(
                "--priors: together they train on every edit, none is left to test with; give "
                "others with --prompts"
            )
        left_out = tuple(dict.fromkeys(before.left_out + own.left_out))
        found[concept.name] = replace(own, edits=edits, left_out=left_out)
    return found


def _cells_in_time(comparison: Comparison, cells: Sequence[Cell]) -> tuple[list[Cell], list[str]]:
    """The cells at equal time, the same where the steps are; and what was not equal there."""
    if comparison.equal == "steps":
        return [], []
    steps = equal_time(cells, comparison.out / "equal_time.json")
    found = [for_steps(cell, steps[cell.variant.label]["steps"]) for cell in cells]
    refuse_other_runs([cell.run for cell in found])
    return found, unequal_company(steps, [variant.label for variant in comparison.variants])


def _measure_all(
    comparison: Comparison,
    cells: Sequence[Cell],
    in_time: Sequence[Cell],
    asked: dict[str, Questions],
    base: Base,
    extractors: Sequence[Extractor],
    options: Options,
    watch: Watch,
) -> dict[Path, ConceptPage]:
    """What `evaluate` measures, by the folder of each run; base and features are shared."""
    pages: dict[Path, ConceptPage] = {}
    for cell in [*cells, *in_time]:
        if cell.run.out in pages:
            continue
        watch.measuring(cell.run.out)
        (subject,) = subjects_of(cell.run.out)
        store = comparison.out / "evaluation"
        questions = asked[subject.concept.name]
        page = measure(subject, questions, base, extractors, options, store, watch.tell)
        pages[cell.run.out] = page
    return pages


def _points(
    cells: Sequence[Cell],
    questions: Questions,
    pages: dict[Path, ConceptPage],
    base: Base,
    extractor: Extractor,
    options: Options,
    watch: Watch,
    out: Path,
) -> list[dict[str, Any]]:
    """The curve of each prior for one concept and seed, from the word they share to the end."""
    store = out / "evaluation"
    watch.measuring(cells[0].word.out)
    (word,) = subjects_of(cells[0].word.out)
    start = curve_point(word, questions, base, extractor, options, store, watch.tell)
    points: list[dict[str, Any]] = []
    for cell in cells:
        page = pages[cell.run.out]
        line = {0: start}
        for step in cell.curve_steps:
            watch.measuring(cell.kept(step))
            state = replace(page.subject, folder=cell.kept(step))
            line[step] = curve_point(state, questions, base, extractor, options, store, watch.tell)
        line[cell.run.tuning.steps] = point_of(page.row)
        where = {"concept": page.subject.concept.name, "seed": cell.run.seed}
        points += [
            {"prior": cell.variant.label, **where, "step": step, **point}
            for step, point in line.items()
        ]
    return points
