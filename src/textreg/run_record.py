"""A run's record: its place, its content, and where the relative paths in it lead."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from textreg.errors import UserError
from textreg.file_kinds import shown
from textreg.regular_file import read_regular
from textreg.yaml_file import MOST_YAML, parse

FORMAT = 1
"""Of the folder: run.yaml, checkpoints/, metrics.jsonl. Another number: what an older version began
cannot be gone on with exactly. Records without one are of format 1."""


def run_home(folder: Path) -> Path | None:
    """The run's folder of a run, of one of its concepts or of a state kept in either."""
    # As typed, if that leads there: "." has no parent but itself.
    starts = (folder, folder.absolute())
    places = (place for start in starts for place in (start, start.parent, start.parent.parent))
    return next((place for place in places if (place / "run.yaml").is_file()), None)


def is_one_of(folder: Path, places: Iterable[Path]) -> bool:
    """Whether a folder, however it was typed, is one of these."""
    return folder.resolve() in {place.resolve() for place in places}


def read_record(folder: Path) -> dict[str, Any]:
    """The content of run.yaml.

    Raises:
        UserError: it is missing or not what this program writes.
    """
    path = folder / "run.yaml"
    try:
        record = parse(read_regular(path, most=MOST_YAML, missing="; is this a run's folder?"))
    except yaml.YAMLError:
        raise UserError(f"{path}: is not readable YAML; was it edited?") from None
    if not isinstance(record, dict) or not isinstance(record.get("run"), dict):
        raise UserError(f"{path}: is not a run's record")
    if (found := record.get("format", 1)) != FORMAT:
        raise UserError(
            f"{path}: is of format {shown(str(found))}; this version of textreg knows "
            f"{FORMAT}: take the version that began this run, or choose another --out"
        )
    return record


def typed_in(folder: Path) -> str:
    """The way from a run's folder to the one that its command was typed in.

    Relative, as a folder that is handed on should not name places of this machine.
    """
    return os.path.relpath(Path.cwd(), folder.resolve())


def recorded_run(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The run of a record, its base and its pictures by paths that hold wherever one is.

    What is not where the record says stays as it was typed: the run's folder may have moved, and
    a base may be a name.
    """
    run, start = dict(record["run"]), record.get("typed_in")
    if not isinstance(start, str):
        return run
    home = Path(os.path.normpath(folder.resolve() / start))

    def placed(typed: Any) -> Any:
        found = home / str(typed)
        return str(found) if isinstance(typed, str) and found.exists() else typed

    run["base"] = placed(run.get("base"))
    if isinstance(concepts := run.get("concepts"), list):
        run["concepts"] = [
            c | {"images": placed(c.get("images"))} if isinstance(c, dict) else c for c in concepts
        ]
    return run
