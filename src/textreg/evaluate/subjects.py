"""What is evaluated: each concept of a finished run, its adapter and its photos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from textreg.adapter.diffusers_files import EMBEDDING_FILE, GATED_LORA_FILE, LORA_FILE
from textreg.annotations import Annotation
from textreg.concept import Folder, inspect_folder
from textreg.config import Concept, Images, Run
from textreg.errors import UserError
from textreg.front import BEST, best_step
from textreg.instance_prompts import InstancePrompts
from textreg.pictures import Picture
from textreg.priors import split
from textreg.prompts import edit_templates
from textreg.run_folder import RunFolder
from textreg.run_record import is_one_of, read_record, recorded_run, run_home
from textreg.settings import run_from


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One learned concept."""

    run: Run
    concept: Concept
    folder: Path
    """Of its adapter."""
    photos: tuple[Picture, ...]
    trained_on: tuple[str, ...]
    """As `trained_prompts`."""
    steps: int
    """Of stage 2 behind this state."""
    imported: bool
    """Made by `textreg import`: how it was trained is not on record."""

    @property
    def files(self) -> list[Path]:
        """The adapter's files."""
        return [self.folder / EMBEDDING_FILE, edit_file(self.folder)]

    @property
    def manifest(self) -> str:
        """Name of the file that says which picture is what; an earlier state has its own."""
        earlier = "" if self.steps == self.run.tuning.steps else f"-step-{self.steps}"
        return f"pictures-{self.concept.name}{earlier}.jsonl"

    def metrics(self) -> list[dict[str, Any]]:
        """The concept's lines of metrics.jsonl."""
        path = RunFolder(self.run).metrics
        lines = path.read_text().splitlines() if path.is_file() else []
        found = [json.loads(line) for line in lines]
        return [line for line in found if line["concept"] == self.concept.name]


def edit_file(folder: Path) -> Path:
    """An adapter's file of the edit; a gated one has another name."""
    gated = folder / GATED_LORA_FILE
    return gated if gated.is_file() else folder / LORA_FILE


def subjects_of(folder: Path, images: Path | None = None) -> list[Subject]:
    """The concepts of a run's folder, or the one whose subfolder is named.

    Args:
        folder: the run's, one concept's of a run with several, or `best` in either.
        images: the photos' folder, if it is not where the run found it.

    Raises:
        UserError: no finished run, or the photos are missing or are others.
    """
    home = run_home(folder)
    if not folder.is_dir() or home is None:
        raise UserError(f"{folder}: is no run's folder; give one that textreg train has filled")
    record = read_record(home)
    # The folder may have moved since; the record names the place where the run was made.
    run = run_from(recorded_run(home, record) | {"out": home}, home / "run.yaml")
    places = {concept: RunFolder(run).concept_folder(concept.name) for concept in run.concepts}
    asked = [concept for concept, place in places.items() if is_one_of(folder, (home, place))]
    best = [] if asked else [c for c, place in places.items() if is_one_of(folder, (place / BEST,))]
    asked += best
    if not asked:
        names = ", ".join(concept.name for concept in run.concepts)
        raise UserError(f"{folder}: is none of the concepts of {home} ({names})")
    lost = quarantined(run)
    if len(asked) > 1:
        asked = [concept for concept in asked if concept.name not in lost]
    if images is not None and len(asked) > 1:
        raise UserError(
            f"--images names one concept's photos, and {home} has {len(asked)}: evaluate one of "
            f"them at a time, like {places[asked[0]]}"
        )
    subjects: list[Subject] = []
    for concept in asked:
        place, steps = places[concept], run.tuning.steps
        if best:
            steps, _ = best_step(place) or (steps, steps)
            place = folder
        missing = [f.name for f in (place / EMBEDDING_FILE, edit_file(place)) if not f.is_file()]
        if missing and concept.name in lost:
            raise UserError(
                f"{place}: {concept.name} ended in quarantine, so it has no {missing[0]}; train it "
                "again"
            )
        if missing:
            raise UserError(f"{place}: this run is not finished, it has no {missing[0]} yet")
        wanted = record.get("pictures", {}).get(concept.name, [])
        found = _photos(concept, run.images, wanted, images)
        subjects.append(
            Subject(
                run=run,
                concept=concept,
                folder=place,
                photos=found.pictures,
                trained_on=trained_prompts(run, concept, found.annotations),
                steps=steps,
                imported="imported" in record,
            )
        )
    return subjects


def quarantined(run: Run) -> list[str]:
    """The concepts of a run that ended in quarantine, by name.

    They have no adapter, though another has its model card, which all get after the last step.
    """
    place = RunFolder(run)
    folders = {concept.name: place.concept_folder(concept.name) for concept in run.concepts}
    learned = {name: folder for name, folder in folders.items() if edit_file(folder).is_file()}
    ended = any((folder / "README.md").is_file() for folder in learned.values())
    return [name for name in folders if ended and name not in learned]


def trained_prompts(
    run: Run, concept: Concept, annotations: Sequence[Annotation]
) -> tuple[str, ...]:
    """Prompts that this run's training gave the concept, beside those that every run may.

    Args:
        run: its own instance prompts, and its prior's.
        concept: one of its concepts.
        annotations: of the concept's photos, which may have captions.

    Returns:
        Templates, {} where the concept's words go.
    """
    own = InstancePrompts.of(concept, run.images, annotations).templates
    context = "context" in split(run.prior)
    return own + tuple(edit_templates(concept, "training") if context else ())


def _photos(
    concept: Concept, settings: Images, wanted: Sequence[str], images: Path | None
) -> Folder:
    place = images or concept.images
    hint = "name their folder with --images"
    if not place.is_dir():
        raise UserError(
            f"{place}: the photos that {concept.name} was learned from are gone; {hint}"
        )
    found = inspect_folder(place, settings=replace(settings, masks="off"))
    if found.errors:
        raise UserError(f"{place}: {found.errors[0]}")
    if wanted and sorted(p.sha256 for p in found.pictures) != sorted(wanted):
        raise UserError(
            f"{place}: holds other photos than {concept.name} was learned from "
            f"({len(found.pictures)} files, {len(wanted)} then); {hint}"
        )
    return found
