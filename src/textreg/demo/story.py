"""Learn the concept twice, once held by TextReg and once free, then draw and measure both."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from textreg.adapter import Adapter
from textreg.adapter.diffusers_files import EMBEDDING_FILE
from textreg.backbone import Backbone, load
from textreg.checkpoint import publish
from textreg.commands.progress import new_progress
from textreg.concept import concept_noun, read_picture
from textreg.config import Run
from textreg.demo.measures import EDITS, Measures, Shown, picture_change, words_of
from textreg.demo.report import write_report
from textreg.errors import UserError
from textreg.interrupt import STOPPED, StopFlag, stop_flag
from textreg.learning import learn
from textreg.run_folder import RunFolder
from textreg.run_pictures import check_pictures, content_hashes
from textreg.sampling import PictureModel
from textreg.settings import build_run
from textreg.toyland.attributes import NOUNS, known_noun
from textreg.trainer import trainings

MODELS = ("base", "none", "textreg")
_MEASURE_EVERY = 100
_CLASS, _CONCEPT, _EDIT, _NEIGHBOUR = 16, 16, 8, 8


def demo(out: Path, images: Path, noun: str | None, seed: int) -> int:
    """Run the demo, or what is left of it; returns the exit code.

    Raises:
        UserError: the pictures are missing or not usable.
    """
    began = time.monotonic()
    if not images.is_dir():
        raise UserError(f"--images {images}: no such folder; run this in textreg's repository")
    noun = concept_noun(images.name) if noun is None else noun.strip()
    if not noun:
        raise UserError(f"{images}: no class noun; say what it shows with --noun, like cat")
    if known_noun(noun) is None:
        known = ", ".join(NOUNS)
        raise UserError(f"--noun {noun!r}: the embedded base knows no such thing; known: {known}")
    concept = {"images": images, "noun": noun}
    held = build_run({"concepts": [concept], "out": out / "textreg", "seed": seed})
    free = replace(
        held,
        out=out / "none",
        prior="none",
        # Both start stage 2 from the same word, so only the prior differs.
        inversion=replace(held.inversion, steps=0, embedding=out / "textreg" / EMBEDDING_FILE),
    )
    folders = check_pictures(held)
    if (out / "report.html").is_file():
        place = RunFolder(held)
        if place.begun and (others := place.differences(content_hashes(held, folders))):
            why = f"{place.path} holds another run: {'; '.join(others)}"
            raise UserError(f"{why}; choose another --out, or delete {out}")
        print(f"finished before; delete {out} to run it again\n{out / 'report.html'}")
        return 0
    with stop_flag() as stop:
        story = Story(held, stop, out)
        if not (story.train("textreg", held) and story.train("none", free)):
            return STOPPED
        stop.immediate = True
        story.finish(held, free)
    print(f"took {time.monotonic() - began:.0f} s\n{out / 'report.html'}")
    return 0


class Story:
    """The base, what is measured on it, and the two runs."""

    def __init__(self, run: Run, stop: StopFlag, out: Path):
        self._stop, self._out = stop, out
        self._curves = out / "curves.jsonl"
        with new_progress() as progress:
            task = progress.add_task("loading the base", total=2, note="")
            self._backbone: Backbone = load(run.base, device=run.device, dtype=run.dtype)
            self._base = PictureModel(self._backbone)
            progress.advance(task)
            concept = run.concepts[0]
            folder = check_pictures(run)[0]
            self._photos = [read_picture(p.path) for p in folder.pictures]
            self._measures = Measures(self._base, concept, self._photos)
            progress.advance(task)

    def train(self, name: str, run: Run) -> bool:
        """One run with its curve; False if it was stopped."""
        with new_progress() as progress:
            task = progress.add_task(f"learning, {name}", total=run.total_steps, note="")
            # The start as well: a kill may have come between a checkpoint and its step's measure.
            with closing(trainings(run, self._backbone, with_start=True)) as going:
                for training, records in going:
                    self._stop.immediate = False
                    step = training.step if training.stage_index else 0
                    if step and step % _MEASURE_EVERY == 0:
                        self._measure(name, step, training.adapters()[0])
                    note = f"loss {records[0].losses['total']:.3f}" if records else ""
                    progress.update(task, completed=training.global_step, note=note)
                    if self._stop.is_set():
                        return False
        learn(run, backbone=self._backbone)
        return True

    def _measure(self, name: str, step: int, adapter: Adapter) -> None:
        model = PictureModel(self._backbone, adapter)
        shown = self._measures.draw(model, adapter.prompt, 8)
        point = {
            "model": name,
            "step": step,
            "drift": self._measures.drift(model),
            "fidelity": self._measures.fidelity(shown.pictures),
        }
        self._curves.parent.mkdir(parents=True, exist_ok=True)
        with self._curves.open("a") as file:
            # A kill may have cut off the line before, which must not take this one with it.
            file.write(f"\n{json.dumps(point)}\n")

    def finish(self, held: Run, free: Run) -> None:
        """Draw, measure, write report.json and report.html."""
        concept = held.concepts[0]
        models = {
            "base": self._base,
            "none": PictureModel(self._backbone, Adapter.load(free.out)),
            "textreg": PictureModel(self._backbone, Adapter.load(held.out)),
        }
        pictures: dict[str, dict[str, Shown]] = {}
        with new_progress() as progress:
            total = sum(count for name in MODELS for _, _, count in self._wanted(held, name))
            task = progress.add_task("drawing", total=total, note="")
            for name, model in models.items():
                pictures[name] = {}
                for key, prompt, count in self._wanted(held, name):
                    pictures[name][key] = self._measures.draw(model, prompt, count)
                    progress.advance(task, count)
        rows = [
            self._row(name, run, models[name], pictures)
            for name, run in (("none", free), ("textreg", held))
        ]
        report: dict[str, Any] = {
            "base": held.base,
            "rows": rows,
            "summary": {
                "concept": concept.name,
                "noun": concept.noun,
                "identifier": concept.identifier,
                "fidelity of the base's class pictures": self._measures.fidelity(
                    pictures["base"]["class"].pictures
                ),
                "base": self._read(pictures["base"], concept.noun),
            },
        }
        publish(self._out / "report.json", json.dumps(report, indent=2).encode())
        curves = _last_points(self._curves)
        write_report(self._out, report, curves, self._photos, pictures, held)

    def _wanted(self, run: Run, name: str) -> Iterator[tuple[str, str, int]]:
        """(key, prompt, number of pictures) of everything a model draws."""
        concept = run.concepts[0]
        yield "class", f"a photo of a {concept.noun}", _CLASS
        if name != "base":
            yield "concept", f"a photo of a {concept.words}", _CONCEPT
        for template, _, value in EDITS:
            yield value, template.replace("{}", words_of(concept, name != "base")), _EDIT
        other = "dog" if known_noun(concept.noun) != "dog" else "cat"
        yield "neighbour", f"a photo of a {other}", _NEIGHBOUR

    def _read(self, shown: dict[str, Shown], noun: str) -> dict[str, float]:
        """What the judge reads: the class still a cat, each edit followed."""
        known = known_noun(noun)
        assert known is not None
        read = {"class": self._measures.share(shown["class"].pictures, "noun", known)}
        for _, attribute, value in EDITS:
            read[value] = self._measures.share(shown[value].pictures, attribute, value)
        return read

    def _row(
        self, name: str, run: Run, model: PictureModel, pictures: dict[str, dict[str, Shown]]
    ) -> dict[str, Any]:
        concept = run.concepts[0]
        shown, base = pictures[name], pictures["base"]
        read = self._read(shown, concept.noun)
        edits = [read[value] for _, _, value in EDITS]
        lines = [json.loads(x) for x in (run.out / "metrics.jsonl").read_text().splitlines()]
        fidelity = self._measures.fidelity(shown["concept"].pictures)
        return {
            "concept": concept.name,
            "prior": name,
            "seed": run.seed,
            "steps": run.tuning.steps,
            "seconds": sum(line["seconds"] for line in lines if line["stage"] == "tuning"),
            "fidelity": {"score": fidelity},
            "editability": {
                "score": sum(edits) / len(edits),
                **{value: read[value] for _, _, value in EDITS},
            },
            "drift": {
                "epsilon": self._measures.drift(model),
                "class judged": read["class"],
                "class picture change": picture_change(
                    shown["class"].pictures, base["class"].pictures
                ),
                "neighbour picture change": picture_change(
                    shown["neighbour"].pictures, base["neighbour"].pictures
                ),
            },
        }


def _last_points(path: Path) -> list[dict[str, Any]]:
    """The curve's points; a step measured twice, before and after a kill, counts once."""
    points: dict[tuple[str, int], dict[str, Any]] = {}
    for line in path.read_text().splitlines():
        try:
            point = json.loads(line)
        except ValueError:
            continue  # empty, or cut off by a kill; the step was measured again
        points[point["model"], point["step"]] = point
    return [points[key] for key in sorted(points)]
