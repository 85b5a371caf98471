"""Run `textreg` commands in forked processes, and strike them in a phase that was chosen.

Importing torch takes longer than a run of the tiny base. So it is imported once, here, and every
run is a fork of this process that calls the command's own main: the arguments are read, the base
is loaded, the run's folder is locked as from a shell. What is struck is a whole process with its
files, by the kernel.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from textreg import cli, encoded_views, learning, trainer
from textreg.latents import Latents
from textreg.training import Training

PHASES = (
    "loading",
    "caching",
    "stage 1",
    "switch",
    "stage 2",
    "sampling",
    "export",
    "report",
)
"""Report: the model card, with which a run is finished."""
MOST_SECONDS = 300
"""What a run may take before it counts as hanging."""


@dataclass(kw_only=True)
class Ended:
    """How a run ended."""

    code: int
    """Exit code; minus the signal's number if one ended it."""
    phase: str
    """The last phase that it entered."""
    said: str
    """On stderr."""
    begins: dict[str, float] = field(default_factory=dict[str, float])
    """Seconds from the start to each phase."""
    seconds: float

    def lasted(self, phase: str) -> float:
        """Seconds from a phase to the next."""
        later = [at for at in self.begins.values() if at > self.begins[phase]]
        return min([*later, self.seconds]) - self.begins[phase]


def run(
    words: list[str],
    *,
    kill: tuple[str, float] | None = None,
    file_size: tuple[str, int] | None = None,
) -> Ended:
    """Run a command.

    Args:
        words: of the command, without `textreg`.
        kill: SIGKILL so many seconds after this phase begins.
        file_size: from this phase on no file may be larger, in bytes.
    """
    phases, entered = os.pipe()
    errors, said = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(words, entered, said, file_size)
    for end in (entered, said):
        os.close(end)
    found = Ended(code=0, phase="", said="", seconds=0)
    at = start + MOST_SECONDS
    text, heard = {phases: b"", errors: b""}, {phases, errors}
    while heard:
        ready, _, _ = select.select(list(heard), [], [], max(0.0, at - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            at = time.monotonic() + MOST_SECONDS
        for source in ready:
            data = os.read(source, 65536)
            heard -= set() if data else {source}
            text[source] += data
            if source == phases and data:
                found.phase = data.decode().splitlines()[-1]
                for phase in data.decode().splitlines():
                    found.begins.setdefault(phase, time.monotonic() - start)
                    if kill and phase == kill[0]:
                        at = min(at, time.monotonic() + kill[1])
    _, status = os.waitpid(child, 0)
    for source in (phases, errors):
        os.close(source)
    found.code, found.seconds = os.waitstatus_to_exitcode(status), time.monotonic() - start
    found.said = text[errors].decode(errors="replace")
    return found


def _become(words: list[str], phases: int, said: int, file_size: tuple[str, int] | None) -> None:
    """The child: say each phase, run the command, end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(said, 2)
    last = [""]

    def enter(phase: str) -> None:
        if phase != last[0]:
            last[0] = phase
            os.write(phases, f"{phase}\n".encode())
            if file_size and phase == file_size[0]:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size[1], file_size[1]))

    def before(owner: Any, name: str, phase: Callable[..., str]) -> None:
        plain = getattr(owner, name)

        def call(*given: Any, **options: Any) -> Any:
            enter(phase(*given))
            return plain(*given, **options)

        setattr(owner, name, call)

    # A tiny base encodes so fast that no view would have a file to be struck.
    encoded_views.SECONDS = 0.0
    before(trainer, "load", lambda *_: "loading")
    before(Latents, "__init__", lambda *_: "caching")
    before(Training, "_enter", lambda _, index: "switch" if index else "stage 1")
    before(Training, "take_step", lambda t: "stage 2" if t.stage_index else "stage 1")
    before(learning, "sample", lambda *_: "sampling")
    before(learning, "export", lambda *_: "export")
    before(learning, "write_card", lambda *_: "report")
    code = 70
    try:
        code = cli.main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def prepare(folder: Path, concepts: int) -> list[str]:
    """A tiny base, pictures of noise and settings; returns the words of a command without --out."""
    import numpy as np
    import yaml
    from PIL import Image
    from random_base import write_base

    torch.set_num_threads(1)
    base = folder / "base"
    if not base.exists():
        write_base(base)
    for concept in range(concepts):
        own = folder / "data" / f"c{concept}"
        if own.exists():
            continue
        own.mkdir(parents=True)
        for n in range(4):
            noise = np.random.default_rng(10 * concept + n).integers(0, 256, (48, 48, 3), np.uint8)
            Image.fromarray(noise).save(own / f"{n}.png")
    settings = {
        "images": {"resolution": 16, "views": 2},
        "inversion": {"steps": 6},
        "tuning": {"steps": 6, "rank": 2},
        "save_steps": 2,
        "card_pictures": 1,
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    pictures = [str(folder / "data" / f"c{n}") for n in range(concepts)]
    return [
        "train",
        *pictures,
        *("--noun", "cat", "--base", str(base), "--config", str(folder / "settings.yaml")),
        *("--device", "cpu"),
    ]
