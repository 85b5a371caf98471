"""A whole run from pictures to a finished folder: train, draw, write every program's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext

from textreg.adapter import Adapter
from textreg.adapter.export import export
from textreg.adapter.model_card import card_prompts, write_card
from textreg.backbone import Backbone
from textreg.concept import Folder
from textreg.config import Concept, Run
from textreg.errors import QuarantineError
from textreg.ranks import ALONE, Ranks
from textreg.run_facts import facts_of
from textreg.run_folder import RunFolder
from textreg.run_lock import locked
from textreg.run_pictures import refuse_other_pictures
from textreg.sampling import PictureModel, sample
from textreg.trainer import load_base, trainings
from textreg.training import StepRecord
from textreg.training_samples import StepPicture, TrainingSamples


def learn(
    run: Run,
    *,
    backbone: Backbone | None = None,
    folders: Sequence[Folder] | None = None,
    on_step: Callable[[StepRecord], bool | None] | None = None,
    on_trained: Callable[[], None] | None = None,
    on_sample: Callable[[StepPicture], object] | None = None,
    take_over: bool = False,
    ranks: Ranks = ALONE,
) -> list[Adapter] | None:
    """Train a run, or what is left of it, and write its model card.

    Args:
        run: what to do.
        backbone: the base, if it is loaded already.
        folders: what `check_pictures` found, if that was asked already.
        on_step: called with each record; returning True stops after that step.
        on_trained: called when all steps so far are saved: between waves, and before pictures are
            drawn. From here to the next record an interrupt loses nothing.
        on_sample: called with each picture that the run's sample_every asks for.
        take_over: go on where a process of another machine is on record.
        ranks: the processes that do this run, each calling this; a rank's `on_step` sees what it
            trains itself.

    Returns:
        Each concept; none if it was stopped. The same call then goes on.

    Raises:
        UserError: anything in the input that cannot work, before anything slow.
        QuarantineError: at the end, when concepts are in quarantine; the others are finished.
    """
    place = RunFolder(run)
    if place.finished:
        refuse_other_pictures(run)
    else:
        together = ranks.dividing_samples(len(run.concepts))
        draws = run.sample_every and together.first
        samples = TrainingSamples(run, on_sample) if draws else None
        lost: QuarantineError | None = None
        try:
            going = trainings(
                run,
                backbone,
                folders=folders,
                with_start=True,
                between_waves=on_trained,
                take_over=take_over,
                ranks=ranks,
            )
            # Closed here, as what cannot be saved when it stops is an error of ours to raise.
            with closing(going):
                for training, records in going:
                    backbone = training.backbone
                    stop = on_step is not None and any([on_step(record) for record in records])
                    # A rank alone after the same step would wait for the others for ever.
                    if any(together.gather(stop)):
                        return None
                    if samples:
                        samples.take(training, first=not records)
                    del training
        except QuarantineError as error:
            lost = error
        # Nothing was left to train if a kill took only the cards.
        backbone = backbone or load_base(run, ranks)
        if on_trained:
            on_trained()
        write_cards(run, backbone, without=lost.concepts if lost else frozenset(), ranks=ranks)
        if lost:
            raise lost
    return [Adapter.load(place.concept_folder(c.name)) for c in run.concepts]


def write_cards(
    run: Run,
    backbone: Backbone,
    *,
    without: frozenset[str] = frozenset(),
    ranks: Ranks = ALONE,
) -> None:
    """Draw each concept's pictures, write the web interfaces' files and, last, the model card.

    With the card the run is finished.
    """
    place = RunFolder(run)
    with locked(place.path) if ranks.first else nullcontext():
        ranks.gather(None)  # nobody writes before the folder is held
        for concept in run.concepts[ranks.rank :: ranks.size]:
            if concept.name not in without:
                _finish(run, concept, place, backbone)
        ranks.gather(None)


def _finish(run: Run, concept: Concept, place: RunFolder, backbone: Backbone) -> None:
    """One concept's pictures, web interfaces' files and card."""
    folder = place.concept_folder(concept.name)
    adapter = Adapter.load(folder)
    prompts = card_prompts(adapter)[: run.card_pictures]
    model = PictureModel(backbone, adapter)
    drawn = sample(model, prompts, seeds=range(len(prompts)), resolution=run.images.resolution)
    pictures = list(drawn)
    # No other program can draw a gated edit.
    if adapter.edited_tokens == "all":
        facts = facts_of(
            place.path,
            run,
            concept,
            resolution=backbone.resolution,
            prediction_type=backbone.prediction_type,
        )
        export(
            adapter,
            folder,
            ("diffusers", "kohya", "a1111", "comfyui"),
            facts,
            picture=pictures[0].image if pictures else None,
            replace=True,
        )
    write_card(folder, run, adapter, pictures)
