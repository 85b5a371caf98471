"""The original's training command: its files are written beside the run's own.

lora_weight_s100.safetensors ... and lora_weight.safetensors, counted from stage 1 on.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from textreg.dependencies import check_versions
from textreg.errors import QuarantineError, UserError, of_machine
from textreg.interrupt import STOPPED, StopFlag, stop_flag
from textreg.legacy.command import Command, in_flags, read_command

if TYPE_CHECKING:
    from textreg.commands.progress import TrainingProgress
    from textreg.concept import Folder
    from textreg.training import Training


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = list(sys.argv[1:] if words is None else words)
    try:
        check_versions()
        command = read_command(words)
        for line in command.lines:
            print(f"train_lora_w_ti.py: {line}", file=sys.stderr)
        with stop_flag() as stop:
            if _train(command, stop):
                weights = shlex.quote(str(command.last_weights))
                print(f"{weights}: learned {command.run.concepts[0].words!r}")
                return 0
    except UserError as error:
        print(f"train_lora_w_ti.py: {in_flags(str(error))}", file=sys.stderr)
        return 2
    except QuarantineError as error:
        print(f"train_lora_w_ti.py: {error}", file=sys.stderr)
        return 1
    except (OSError, MemoryError, RuntimeError) as error:
        if (line := of_machine(error)) is None:
            raise
        print(f"train_lora_w_ti.py: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    again = shlex.join(["python", sys.argv[0], *words])
    print(f"stopped; to go on: {again}", file=sys.stderr)
    return STOPPED


def _train(command: Command, stop: StopFlag) -> bool:
    """Train, or go on; False if it was stopped."""
    from textreg.adapter.embedding_file import read_embedding
    from textreg.base_files import BaseFiles
    from textreg.commands.progress import TrainingProgress
    from textreg.run_folder import RunFolder
    from textreg.run_pictures import check_pictures

    run = command.run
    if RunFolder(run).finished and command.last_weights.is_file():
        print(f"{run.out}: this run is finished; delete the folder to start over", file=sys.stderr)
        return True
    # Before the run's folder is claimed: a wrong path must not become part of its record.
    folders = check_pictures(run)
    if "text_encoder_2" in BaseFiles.of(run.base, run.revision).parts:
        raise UserError(
            f"{run.base}: the original's command and file know no Stable Diffusion XL; use "
            "textreg train"
        )
    if run.inversion.embedding is not None:
        read_embedding(run.inversion.embedding)
    with TrainingProgress(run) as progress:
        for warning in folders[0].warnings:
            progress.say(folders[0].located(warning))
        if cards := os.environ.get("CUDA_VISIBLE_DEVICES"):
            _warn_without_gpu(cards, progress)
        return _learn(command, folders, stop, progress)


def _warn_without_gpu(cards: str, progress: TrainingProgress) -> None:
    import torch

    if not torch.cuda.is_available():
        progress.say(
            f"CUDA_VISIBLE_DEVICES={cards} shows no GPU: training on the CPU, which is slow"
        )


def _learn(
    command: Command, folders: Sequence[Folder], stop: StopFlag, progress: TrainingProgress
) -> bool:
    from textreg.learning import write_cards
    from textreg.trainer import trainings

    run = command.run
    training: Training | None = None
    with closing(trainings(run, folders=folders, with_start=True)) as going:
        for training, records in going:
            _write_due(command, training)
            for record in records:
                stop.immediate = False
                progress.show(record)
            if stop.is_set():
                return False
    assert training is not None
    stop.immediate = True
    _write(training, command.last_weights)
    write_cards(run, training.backbone)
    return True


def _write_due(command: Command, training: Training) -> None:
    """Write the file of this step if one is due and not there.

    It comes after the step's checkpoint. A kill between the two leaves the file out; training then
    goes on from that very checkpoint, and its first item, the state found there, writes it.
    """
    step = training.global_step
    if step == 0 or step % command.run.save_steps:
        return
    path = command.weights(step)
    if not path.is_file():
        _write(training, path)


def _write(training: Training, path: Path) -> None:
    from textreg.adapter.legacy_file import write

    layers = training.backbone.text_encoder.config.num_hidden_layers
    write(training.adapters()[0], path, text_layers=layers)
