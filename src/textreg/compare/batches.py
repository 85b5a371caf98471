"""Runs that differ only in their concept train in one batch; each then gets a folder of its own.

batches/seed-S/PRIOR           an ordinary run of several concepts, while it lasts
batches/seed-S/words/CONCEPT   what each of them starts from
cells/CONCEPT/seed-S/PRIOR     what is handed out: as if trained alone, to rounding
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from textreg.adapter import Adapter
from textreg.adapter.diffusers_files import EMBEDDING_FILE
from textreg.backbone import Backbone
from textreg.checkpoint import publish
from textreg.compare.cells import STATES
from textreg.compare.failures import done, record_failure
from textreg.compare.spelling import as_begun
from textreg.config import Concept, Run
from textreg.errors import UserError
from textreg.front import BEST, FRONT_FILE
from textreg.learning import write_cards
from textreg.run_folder import RunFolder
from textreg.run_record import read_record


def batches_of(runs: Sequence[Run], folder: Path) -> list[list[Run]]:
    """Runs that are not done, those that may share a batch together.

    Args:
        runs: of one concept each, alike but for that.
        folder: of their batch; one that has begun keeps its concepts.

    Raises:
        UserError: the batch has begun with a concept that is not compared any more.
    """
    left = [run for run in runs if not done(run)]
    alone = [run for run in left if RunFolder(run).begun]
    if (folder / "run.yaml").is_file():
        begun = [Path(c["images"]).name for c in read_record(folder)["run"]["concepts"]]
        by_name = {run.concepts[0].name: run for run in runs}
        if missing := [name for name in begun if name not in by_name]:
            raise UserError(
                f"{folder}: began with {', '.join(missing)} as well; compare that again, or delete "
                "that folder"
            )
        first = [by_name[name] for name in begun]
    else:
        first = []
    alone = [run for run in alone if run not in first]
    rest = [run for run in left if run not in first and run not in alone]
    if len(rest) == 1:
        alone, rest = [*alone, *rest], []
    return [batch for batch in (first, rest, *([run] for run in alone)) if batch]


def together(runs: Sequence[Run], folder: Path) -> Run:
    """One run of all these concepts, each from its own word."""
    first = runs[0]
    inversion, class_images = first.inversion, first.class_images
    if inversion.embedding is not None:
        words = folder.parent / "words"
        for run in runs:
            source = run.inversion.embedding
            assert source is not None
            publish(words / run.concepts[0].name / EMBEDDING_FILE, source.read_bytes())
        inversion = replace(inversion, embedding=words)
    if class_images.folder is not None:
        class_images = replace(class_images, folder=class_images.folder.parent)
    batch = replace(
        first,
        concepts=_told_apart(runs, folder),
        out=folder,
        inversion=inversion,
        class_images=class_images,
    )
    return as_begun(batch, folder.parents[2])


def _told_apart(runs: Sequence[Run], folder: Path) -> tuple[Concept, ...]:
    """Their concepts, each with an identifier of its own; captions call them what they did alone.

    A word's name changes nothing but who it is told from. A batch that has begun keeps its names.
    """
    concepts = [run.concepts[0] for run in runs]
    if (folder / "run.yaml").is_file():
        there = read_record(folder)["run"]["concepts"]
        return tuple(
            replace(concept, identifier=began["identifier"], trigger=began.get("trigger"))
            for concept, began in zip(concepts, there, strict=True)
        )
    if len({concept.identifier for concept in concepts}) == len(concepts):
        return tuple(concepts)
    return tuple(
        replace(concept, identifier=f"<cell{n}>", trigger=concept.trigger or concept.identifier)
        for n, concept in enumerate(concepts, 1)
    )


def hand_out(batch: Run, run: Run, backbone: Backbone, why: str | None = None) -> None:
    """Make the folder of one of a finished batch's runs.

    Args:
        batch: the run of them all.
        run: one of them.
        backbone: the base.
        why: it is in quarantine, so there is nothing but its metrics and this sentence; none: there
            is all of it, its model card last.
    """
    name, place, source = run.concepts[0].name, RunFolder(run), RunFolder(batch)
    learned, record = source.concept_folder(name), read_record(batch.out)
    # As the batch read them: NAME, and NAME/annotations.
    hashes = {key: own for key, own in record["pictures"].items() if key.split("/")[0] == name}
    how = {key: source.chosen(key) for key in ("batch_concepts", "speed")}
    # What was asked for may be more than there were.
    how["batch_concepts"] = min(how["batch_concepts"] or math.inf, len(batch.concepts))
    with place.held(hashes):
        place.claim(hashes, record["base_digest"], how)
        publish(place.metrics, _metrics(source.metrics, name))
        if why is not None:
            record_failure(run, why)
            return
        for folder in (learned, learned / BEST, *sorted((learned / STATES).glob("*"))):
            if folder.is_dir():
                adapter = Adapter.load(folder)
                own = replace(adapter, identifier=run.concepts[0].identifier, digest=run.digest)
                own.save(run.out / folder.relative_to(learned))
        for file in (learned / FRONT_FILE, *(batch.out / "class_images" / name).glob("*.json")):
            if file.is_file():
                home = learned if file.is_relative_to(learned) else batch.out
                publish(run.out / file.relative_to(home), file.read_bytes())
    write_cards(run, backbone)


def _metrics(path: Path, concept: str) -> bytes:
    """A concept's lines; the seconds of a step are shared by all who took it."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    sharing = Counter((line["global_step"], line["seconds"]) for line in lines)
    own = [
        line | {"seconds": line["seconds"] / sharing[line["global_step"], line["seconds"]]}
        for line in lines
        if line["concept"] == concept
    ]
    return "".join(f"{json.dumps(line)}\n" for line in own).encode()


def drop(folder: Path) -> None:
    """Remove a batch that is handed out; what a kill leaves of it is no run's folder any more."""
    dropped = folder.with_name(f".{folder.name}")
    shutil.rmtree(dropped, ignore_errors=True)
    folder.rename(dropped)
    clear_dropped(folder.parent.parent)


def clear_dropped(batches: Path) -> None:
    """Remove what `drop` put aside, whether or not a kill came then, and what is empty without it.

    Args:
        batches: of a comparison, if there are any.
    """
    for dropped in (path for path in sorted(batches.glob("*/.*")) if path.is_dir()):
        shutil.rmtree(dropped)
        seed = dropped.parent
        if {path.name for path in seed.iterdir()} <= {"words"}:
            shutil.rmtree(seed)
    if batches.is_dir() and not any(batches.iterdir()):
        batches.rmdir()
