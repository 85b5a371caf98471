"""One small run that says which phase it enters; torture.py kills it there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch


def main() -> int:
    base, data, out, concepts = sys.argv[1:]
    torch.set_num_threads(1)
    print("loading", flush=True)
    from textreg import learning
    from textreg.config import Concept, Images, Inversion, Run, Tuning
    from textreg.errors import UserError
    from textreg.latents import Latents
    from textreg.training import Training

    def say_before(owner: Any, name: str, phase: str) -> None:
        plain = getattr(owner, name)

        def call(*given: Any, **options: Any) -> Any:
            print(phase, flush=True)
            return plain(*given, **options)

        setattr(owner, name, call)

    say_before(Latents, "__init__", "caching")
    say_before(learning, "sample", "sampling")
    say_before(learning, "export", "export")
    enter = Training._enter

    def entering(training: Training, index: int) -> None:
        print("switch" if index else "stage 1", flush=True)
        enter(training, index)

    Training._enter = entering
    run = Run(
        concepts=tuple(
            Concept(images=Path(data) / f"c{n}", noun="cat", identifier=f"<krk{n}>")
            for n in range(int(concepts))
        ),
        base=base,
        out=Path(out),
        device="cpu",
        images=Images(resolution=16, views=2),
        inversion=Inversion(steps=15),
        tuning=Tuning(steps=15, rank=2),
        save_steps=3,
        card_pictures=1,
    )

    def on_step(record: Any) -> None:
        print("stage 2" if record.stage == "tuning" else "stage 1", flush=True)

    try:
        learning.learn(run, on_step=on_step)
    except (UserError, OSError) as error:
        print(f"textreg: {error}", file=sys.stderr)
        return 2
    print("done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
