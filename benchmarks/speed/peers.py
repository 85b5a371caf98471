"""Ours against diffusers' training examples: concept-steps a second, in one process, order A B B A.

    pip install --no-deps torchvision==0.28.0 accelerate tensorboard
    git clone https://github.com/huggingface/diffusers
    python benchmarks/speed/peers.py --diffusers-examples diffusers/examples --json FILE

Four peers, each unmodified ("defaults") and at matched work, against textreg with 1 and 16 concepts
on the same base, pictures, precision, rank and batch 1. What each side does is in `PAIRS`; how the
examples are run, and what "matched" gives them, in peer_script.py. A ratio above 1 says that
textreg is faster. The time of a step is the median time from one update to the next, by the clock
and in CPU time; the latter says more where others use the machine as well, on one thread
(OMP_NUM_THREADS=1: threads that wait for each other count as busy).
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from peer_script import declare_operators, run_example
from provenance import peak_gibibytes, provenance, rounded, write_report

Work = Literal["defaults", "matched"]
CLASS_PICTURES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One of the examples, and the training of ours that stands against it."""

    script: str
    stage: Literal["inversion", "tuning"]
    flags: tuple[str, ...]
    """The example's flags; {pictures}, {classes} and {rank} are filled in."""
    matched_flags: tuple[str, ...] = ()
    """More flags at matched work."""
    left_out_when_matched: tuple[str, ...] = ()
    prior: str = "textreg+context"
    """Our prior; at matched work, `matched_prior`."""
    matched_prior: str = "none"
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def needs_classes(self) -> bool:
        """Whether the example trains on class pictures; at matched work ours then does as well."""
        return "{classes}" in " ".join(self.flags)

    def our_prior(self, work: Work) -> str:
        """What ours holds the model with; stage 1 has nothing to hold."""
        if self.stage == "inversion":
            return "none"
        return self.matched_prior if work == "matched" else self.prior

    def arguments(self, work: Work, places: dict[str, str]) -> list[str]:
        """The example's command line."""
        words = [*self.flags, *(self.matched_flags if work == "matched" else ())]
        left_out = self.left_out_when_matched if work == "matched" else ()
        return [w.format(**places) for w in words if w.split("=")[0] not in left_out]


_COMMON = (
    "--pretrained_model_name_or_path={base}",
    "--output_dir={out}",
    "--resolution={side}",
    "--center_crop",
    "--train_batch_size=1",
    "--max_train_steps={updates}",
    "--checkpointing_steps=1000000",
    "--lr_scheduler=constant",
    "--lr_warmup_steps=0",
    "--dataloader_num_workers=0",
    "--mixed_precision={precision}",
    "--seed=0",
)
_LORA = (
    "--instance_data_dir={pictures}",
    "--instance_prompt=a photo of sks {noun}",
    "--rank={rank}",
)
_CLASS = (
    "--with_prior_preservation",
    "--class_data_dir={classes}",
    "--class_prompt=a photo of a {noun}",
    f"--num_class_images={CLASS_PICTURES}",
)

PAIRS = {
    # Stage 1 against it; the word's encoder runs and is trained through on both sides.
    "inversion": Pair(
        script="textual_inversion/textual_inversion.py",
        stage="inversion",
        flags=(
            *_COMMON,
            "--train_data_dir={pictures}",
            "--placeholder_token=<krk1>",
            "--initializer_token={noun}",
            "--learnable_property=object",
        ),
    ),
    # Stage 2 with TextReg against LoRA without any prior.
    "lora": Pair(
        script="dreambooth/train_dreambooth_lora.py",
        stage="tuning",
        flags=(*_COMMON, *_LORA),
        matched_flags=("--pre_compute_text_embeddings",),
    ),
    # Stage 2 with TextReg against LoRA that holds the class with class pictures; at matched work
    # ours trains on class pictures as well.
    "lora-prior": Pair(
        script="dreambooth/train_dreambooth_lora.py",
        stage="tuning",
        flags=(*_COMMON, *_LORA, *_CLASS),
        matched_flags=("--pre_compute_text_embeddings",),
        matched_prior="class-images",
    ),
    # Stage 2 with TextReg against whole keys and values and the word at once; at matched work
    # without the word, so that on both sides no text encoder is trained through.
    "custom": Pair(
        script="custom_diffusion/train_custom_diffusion.py",
        stage="tuning",
        flags=(
            *_COMMON,
            "--instance_data_dir={pictures}",
            "--instance_prompt=photo of a <krk1> {noun}",
            "--modifier_token=<krk1>",
            "--initializer_token={noun}",
        ),
        matched_flags=("--noaug",),
        left_out_when_matched=("--modifier_token", "--initializer_token"),
    ),
}


def main() -> None:
    """Measure every pair; print and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--diffusers-examples", type=Path, required=True, metavar="PATH")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--data", type=Path, default=Path("custom_datasets/data"))
    parser.add_argument("--noun", default="cat", help="the concept, and its folder in --data")
    parser.add_argument("--peers", default=",".join(PAIRS), help="which, by comma")
    parser.add_argument("--work", default="defaults,matched", help="which, by comma")
    parser.add_argument("--concepts", default="1,16", help="of our run, by comma")
    parser.add_argument("--steps", type=int, default=40, help="timed in a run")
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1, help="A B B A, so many times")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of our run")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if problem := _missing(arguments):
        parser.error(problem)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    # Transformers imports torchvision as soon as it finds it, so before everything else.
    declare_operators()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, Path(folder))
        if arguments.memory_of:
            side, peer, work, concepts, classes = json.loads(arguments.memory_of)
            bench.classes = Path(classes)
            bench.time(side, peer, work, concepts)
            print(peak_gibibytes())
            return
        rows: list[dict[str, Any]] = []
        for peer in arguments.peers.split(","):
            for work in arguments.work.split(","):
                rows += bench.rows(peer, work)
                for row in rows[-len(arguments.concepts.split(",")) :]:
                    print(json.dumps(rounded(row)), file=sys.stderr, flush=True)
        settings = {k: str(v) for k, v in vars(arguments).items() if k not in _PLACES}
        report = {"rows": rows, "settings": settings, "peers": _commit(arguments), **provenance()}
    write_report(report, arguments.json)


_PLACES = ("diffusers_examples", "json", "memory_of")


class Bench:
    """Everything that the runs share: the base, loaded once, and the pictures.

    Where memory is measured, the example's process never loads our side's base.
    """

    def __init__(self, arguments: argparse.Namespace, work: Path):
        from training_run import concept_folders, settings_of

        from textreg.base_files import BaseFiles

        self.arguments, self.work = arguments, work
        self.settings = {"base": arguments.base, "tuning.rank": arguments.rank}
        self.settings |= {"dtype": arguments.precision} | settings_of(arguments.set)
        self.files = BaseFiles.of(arguments.base)
        self.folders = concept_folders(arguments.data, arguments.noun)
        self.small = work / arguments.noun
        self._write_small()
        self._count = 0
        self._peaks: dict[tuple[tuple[str, str, str], int], float] = {}

    @functools.cached_property
    def backbone(self) -> Any:
        """The base as ours loads it."""
        from textreg.backbone import load

        return load(self.arguments.base, dtype=self.arguments.precision)

    @functools.cached_property
    def classes(self) -> Path:
        """Class pictures, drawn by the base."""
        from textreg.sampling import PictureModel, sample

        folder = self.work / "classes"
        folder.mkdir()
        prompts = [f"a photo of a {self.arguments.noun}"] * CLASS_PICTURES
        drawn = sample(PictureModel(self.backbone), prompts, seeds=range(CLASS_PICTURES), steps=10)
        for number, picture in enumerate(drawn):
            picture.image.save(folder / f"{number}.png")
        return folder

    def _write_small(self) -> None:
        """The concept's own pictures, at the side that is trained."""
        from PIL import Image

        self.small.mkdir()
        side = self.files.resolution
        for file in sorted(self.folders[0].iterdir()):
            with Image.open(file) as image:
                image.resize((side, side)).save(self.small / f"{file.stem}.png")

    def rows(self, peer: str, work: Work) -> list[dict[str, Any]]:
        """The rows of a peer at some work: one for each number of our concepts."""
        counts = [int(n) for n in self.arguments.concepts.split(",")]
        order = [*(("ours", n) for n in counts), ("theirs", 1)]
        measured: dict[tuple[str, int], list[Any]] = {run: [] for run in order}
        for run in [*order, *reversed(order)] * self.arguments.rounds:
            measured[run].append(self.time(run[0], peer, work, run[1]))
        sides = {run: _side(times) for run, times in measured.items()}
        if not self.arguments.no_memory:
            for (name, concepts), side in sides.items():
                side["peak_gibibytes"] = self._memory(name, peer, work, concepts)
        theirs = sides["theirs", 1]
        return [
            {
                "peer": peer,
                "work": work,
                "concepts": concepts,
                "ratio": ratio(sides["ours", concepts], theirs, "seconds"),
                "ratio_of_whole_time": ratio(sides["ours", concepts], theirs, "whole_seconds"),
                "ratio_of_cpu_time": ratio(sides["ours", concepts], theirs, "cpu_seconds"),
                "ratio_of_fastest": ratio(sides["ours", concepts], theirs, "fast_seconds"),
                "ours": sides["ours", concepts],
                "theirs": theirs,
            }
            for concepts in counts
        ]

    def time(self, side: str, peer: str, work: Work, concepts: int) -> Any:
        """One run of one side; its step times."""
        from training_run import StepTimes, time_steps, training_run

        arguments, pair = self.arguments, PAIRS[peer]
        self._count += 1
        out = self.work / f"out{self._count}"
        updates = arguments.warm_up + arguments.steps
        matched = work == "matched"
        if side == "ours":
            settings = self.settings | {"prior": pair.our_prior(work)}
            if matched:
                settings["images.views"] = 1  # as of the example, whose pictures are encoded once
            if settings["prior"] == "class-images":
                settings["class_images.folder"] = self._class_folder(concepts)
            run = training_run(self.folders[:concepts], out, pair.stage, **settings)
            return time_steps(run, self.backbone, arguments.warm_up, updates)
        places = {
            "base": str(self.files.folder),
            "out": str(out),
            "side": str(self.files.resolution),
            "updates": str(updates + 1),
            "precision": "no" if arguments.precision == "fp32" else arguments.precision,
            "pictures": str(self.small if matched else self.folders[0]),
            "classes": str(self.classes) if pair.needs_classes else "",
            "noun": arguments.noun,
            "rank": str(arguments.rank),
        }
        ended = run_example(
            arguments.diffusers_examples / pair.script,
            pair.arguments(work, places),
            updates,
            savings=matched,
        )
        kept = ended[arguments.warm_up - 1 :]
        return StepTimes.between(kept, [1] * len(kept))

    def _class_folder(self, concepts: int) -> Path:
        """The class pictures as our run wants them: of several concepts a folder each."""
        if concepts == 1:
            return self.classes
        place = self.work / "classes of each"
        place.mkdir(exist_ok=True)
        for folder in self.folders[:concepts]:
            if not (place / folder.name).exists():
                (place / folder.name).symlink_to(self.classes, target_is_directory=True)
        return place

    def _memory(self, side: str, peer: str, work: Work, concepts: int) -> float:
        """Peak memory of one run, in a process of its own; ours once for several peers."""
        pair = PAIRS[peer]
        key = (side, peer, work)
        if side == "ours":
            key = (side, pair.stage, pair.our_prior(work))
        if (key, concepts) not in self._peaks:
            self._peaks[key, concepts] = self._peak(side, peer, work, concepts)
        return self._peaks[key, concepts]

    def _peak(self, side: str, peer: str, work: Work, concepts: int) -> float:
        # Drawn here, so that no process that is measured draws them.
        classes = str(self.classes) if PAIRS[peer].needs_classes else ""
        what = json.dumps([side, peer, work, concepts, classes])
        few = [str(min(3, n)) for n in (self.arguments.steps, self.arguments.warm_up)]
        words = [sys.executable, __file__, *sys.argv[1:], "--steps", few[0], "--warm-up", few[1]]
        done = subprocess.run(
            [*words, "--memory-of", what], stdout=subprocess.PIPE, text=True, check=True
        )
        return float(done.stdout.splitlines()[-1])


def _side(times: Sequence[Any]) -> dict[str, float]:
    """Seconds a concept-step of several runs of one side."""
    return {
        "seconds": statistics.mean(t.per_concept for t in times),
        "cpu_seconds": statistics.mean(t.cpu_per_concept for t in times),
        "whole_seconds": statistics.mean(t.mean_per_concept for t in times),
        # Of all runs: whoever else uses the machine only ever adds time.
        "fast_seconds": min(t.fast_per_concept for t in times),
    }


def ratio(ours: dict[str, float], theirs: dict[str, float], key: str) -> float:
    """Concept-steps a second of ours for one of theirs."""
    return theirs[key] / ours[key]


def _missing(arguments: argparse.Namespace) -> str | None:
    for package in ("torchvision", "accelerate", "peft"):
        if importlib.util.find_spec(package) is None:
            return f"the examples need {package}: pip install --no-deps {package}"
    for name in arguments.peers.split(","):
        if name not in PAIRS:
            return f"--peers {name}: there is {', '.join(PAIRS)}"
        script = arguments.diffusers_examples / PAIRS[name].script
        if not script.is_file():
            return f"{script} is not there: --diffusers-examples names diffusers' folder examples"
    return None


def _commit(arguments: argparse.Namespace) -> dict[str, str]:
    """Which examples these are: their files' hashes, as git names them."""
    hashes: dict[str, str] = {}
    for pair in PAIRS.values():
        script = arguments.diffusers_examples / pair.script
        done = subprocess.run(
            ["git", "hash-object", str(script)], capture_output=True, text=True, check=False
        )
        hashes[pair.script] = done.stdout.strip()
    return hashes


if __name__ == "__main__":
    main()
