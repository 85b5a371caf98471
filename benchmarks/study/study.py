"""Run the study of docs/study.md, or what is left of it, and write its results as JSON.

    python benchmarks/study/study.py --out runs/study        all parts, hours on a CPU
    python benchmarks/study/study.py --out runs/study --parts main --concepts 2
    python benchmarks/study/study.py --out runs/study --parts main --concepts vase,rc_car --add

All concepts of a prior and seed train in one batch; the same command goes on where it was stopped.
Each part is an ordinary `textreg compare` whose page lies in its folder: main, mask-0, ...; where
parts share a folder, the page is of the one that ran last. With --add the cells join
those that --results holds, so that other concepts and seeds may come from other machines.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from textreg.checkpoint import publish
from textreg.commands.judge_features import JudgeFeatures
from textreg.compare import Comparison, compare
from textreg.compare.cells import SHARES
from textreg.compare.comparison import EPSILON_PROMPTS, Watch
from textreg.compare.content import VERSIONS
from textreg.compare.variants import variants_of
from textreg.concept_names import concept_noun
from textreg.config import Mask, Run
from textreg.evaluate.options import Options

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "speed"))
from merging import made_of, merged, require_same  # noqa: E402
from provenance import provenance, rounded  # noqa: E402

CONCEPTS = ("cat", "teapot", "dog", "wolf_plushie", "backpack", "robot_toy", "vase", "rc_car")
"""Two animals, a plushie, toys and household things; which cat or dog was not chosen by result."""

NUM_IMAGES = 8
"""Pictures of a state: many cells with few pictures say more than few cells with many."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One comparison of the study."""

    priors: str
    concepts: int
    seeds: int
    equal: Literal["steps", "both"] = "steps"
    folder: str = ""
    """Under --out; parts that start from the same words share one, and with it equal rows."""
    shares: tuple[float, ...] = ()
    """Where curves have points before their last; only equal fidelity asks for them."""
    settings: dict[str, Any] = field(default_factory=dict)


PARTS = {"main": Part(priors="priors.yaml", concepts=8, seeds=3, equal="both", shares=SHARES)}
# One seed: concepts differ more than a concept's seeds do.
PARTS |= {
    name: Part(priors=f"{name}.yaml", concepts=8, seeds=1, folder="main")
    for name in ("ablations", "candidates", "unmasked")
}
PARTS["presets"] = Part(
    priors="presets.yaml", concepts=8, seeds=3, folder="main", shares=(0.25, 0.5)
)
PARTS["rivals"] = Part(priors="rivals.yaml", concepts=8, seeds=1, folder="main", shares=SHARES)
PARTS |= {
    # Main's own words are those of the default ratio.
    f"mask-{100 * ratio:.0f}": Part(
        priors="mask.yaml",
        concepts=8,
        seeds=1,
        folder="main" if ratio == Mask().ratio else "",
        settings={"mask.ratio": ratio},
    )
    for ratio in (0.0, 0.5, 0.75, 1.0)
}


def run_part(
    name: str, part: Part, arguments: argparse.Namespace, results: Path
) -> dict[str, Any] | None:
    """Compare, and write the part's JSON."""
    concepts, path = arguments.concepts(part), results / f"study-{name}.json"
    if arguments.add and path.is_file():
        # Known before anything is trained.
        there = json.loads(path.read_text())["settings"].get("versions")
        require_same("settings.versions", there, VERSIONS)
    print(f"{name}: {', '.join(concepts)}", flush=True)
    content = compare(
        comparison(name, part, concepts, arguments),
        [JudgeFeatures()],
        Options(
            num_images=NUM_IMAGES,
            epsilon_prompts=EPSILON_PROMPTS,
            batch_size=32,
            device=arguments.device,
            dtype=arguments.dtype,
        ),
        Watch(step=_told, measuring=lambda folder: print(f"measuring {folder}", flush=True)),
    )
    if content is not None:
        times = arguments.out / (part.folder or name) / "equal_time.json"
        if part.equal == "both" and times.is_file():
            content["equal_time"] = json.loads(times.read_text())
        results.mkdir(parents=True, exist_ok=True)
        kept = rounded(kept_of(content, part) | provenance() | {"dtype": arguments.dtype})
        kept["made"] = made_of(kept)
        if arguments.add and path.is_file():
            kept = rounded(merged(json.loads(path.read_text()), kept))
        text = json.dumps(kept, separators=(",", ":"))
        # A line a row: what changed between two studies can be seen.
        text = text.replace('{"concept"', '\n{"concept"').replace('{"prior"', '\n{"prior"')
        publish(path, f"{text}\n".encode())
    return content


def _told(run: Run, done: int) -> bool:
    if done % 50 == 0:
        print(f"{run.out}: step {done} of {run.total_steps}", flush=True)
    return False


def comparison(
    name: str, part: Part, concepts: tuple[str, ...], arguments: argparse.Namespace
) -> Comparison:
    """The comparison of a part, in its folder under --out."""
    data = arguments.data
    flags = {
        "concepts": [{"images": data / c, "noun": concept_noun(c)} for c in concepts],
        "base": arguments.base,
        "device": arguments.device,
        "dtype": arguments.dtype,
    }
    return Comparison(
        flags=flags | part.settings,
        variants=variants_of(str(HERE / part.priors)),
        out=arguments.out / (part.folder or name),
        seeds=min(part.seeds, arguments.seeds),
        equal=arguments.equal or part.equal,
        shares=part.shares,
    )


def kept_of(content: dict[str, Any], part: Part) -> dict[str, Any]:
    """compare.json with what was planned, without what is about one picture or prompt."""
    rows = [
        {key: value for key, value in row.items() if key != "drift"}
        | {
            "editability": {k: v for k, v in row["editability"].items() if k != "edits"},
            "drift": {k: v for k, v in row["drift"].items() if k != "epsilon_intervals"},
        }
        for row in content["rows"]
    ]
    planned = {"concepts": part.concepts, "seeds": part.seeds}
    return content | {"rows": rows, "planned": planned}


def concepts_word(text: str) -> Callable[[Part], tuple[str, ...]]:
    """--concepts as a function of the part: the first N of its own, or those named."""
    if text.isdecimal():
        return lambda part: CONCEPTS[: min(part.concepts, int(text))]
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in CONCEPTS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(CONCEPTS)}")
    return lambda part: names


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, many")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument(
        "--concepts", type=concepts_word, default="8", help="the first N only, or names by comma"
    )
    parser.add_argument("--seeds", type=int, default=3, help="at most")
    parser.add_argument(
        "--equal",
        choices=("steps", "both"),
        help="steps: leave equal time out, which only a quiet machine can measure",
    )
    parser.add_argument(
        "--add", action="store_true", help="keep the cells that --results holds of a part"
    )
    parser.add_argument("--data", type=Path, default=Path("custom_datasets/data"))
    parser.add_argument("--base", default="toyland")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bf16")
    arguments = parser.parse_args()
    for name in arguments.parts.split(","):
        if name not in PARTS:
            parser.error(f"--parts: {name!r} is none of {', '.join(PARTS)}")
    for name in arguments.parts.split(","):
        run_part(name, PARTS[name], arguments, arguments.results)


if __name__ == "__main__":
    main()
