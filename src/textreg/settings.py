"""From preset, file and flags to a run: preset < file < flags; an unknown key is an error."""

from __future__ import annotations

import dataclasses
import functools
import typing
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

import textreg.priors as priors
from textreg.bases import settings_file
from textreg.config import Run
from textreg.errors import UserError, nearest
from textreg.file_kinds import shown
from textreg.presets import PRESETS
from textreg.yaml_file import read_mapping


def build_run(
    flags: dict[str, Any],
    *,
    preset: str | None = None,
    file: Path | None = None,
    defaults: dict[str, Any] | None = None,
) -> Run:
    """The run that a command means.

    Args:
        flags: what the command line says, by dotted key ("tuning.steps"), only what was given.
        preset: a preset's name; none: the base's own recommended settings if it has any.
        file: a YAML file with the structure of Run.
        defaults: what holds where nothing else says anything, with the structure of Run.

    Raises:
        UserError: an unknown key or a value that cannot be, by key; a weight of the class in hard
            mode, which has none.
    """
    given = _read(file) if file is not None else {}
    base = flags.get("base", given.get("base", Run.__dataclass_fields__["base"].default))
    if preset is None and (own := settings_file(str(base))) is not None:
        start = _read(own)
    elif (preset or "textreg") in PRESETS:
        start = PRESETS[preset or "textreg"]()
    else:
        raise UserError(f"--preset {preset!r}: {nearest(str(preset), list(PRESETS))}")
    data: dict[str, Any] = {}
    for layer in (defaults or {}, start):
        _merge(data, layer)
    user: dict[str, Any] = {}
    for layer in (given, nested(flags)):
        _merge(user, layer)
    _merge(data, user)
    run = run_from(data, file or Path("the settings"))
    asked = user.get("textreg", {})
    if run.textreg.hard and "class_weight" in asked and "hard" not in asked:
        raise UserError(
            f"textreg.class_weight is {run.textreg.class_weight}, but these settings begin with "
            "hard mode, which pins the class and has no such weight; set textreg.hard to false "
            "with it, or leave it out"
        )
    return run


def run_from(data: dict[str, Any], origin: Path) -> Run:
    """A run from plain data.

    Raises:
        UserError: naming the first key that is wrong.
    """
    _refuse_unknown(Run, data, origin)
    try:
        run = _schema().validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        value = (
            "" if first["type"] == "missing" or not where else f" is {shown(repr(first['input']))}:"
        )
        raise UserError(f"{where}{value} {message}".strip()) from None
    priors.split(run.prior)
    return run


@functools.cache
def _schema() -> TypeAdapter[Run]:
    """Of all that a run holds; made once, as a comparison reads hundreds of runs."""
    return TypeAdapter(Run)


def require_steps(run: Run) -> Run:
    """A run that trains something; only the record of an imported concept has no steps.

    Raises:
        UserError: it takes none.
    """
    if run.total_steps == 0:
        raise UserError("--inversion-steps and --tuning-steps are both 0: nothing would be trained")
    return run


def _refuse_unknown(section: Any, data: dict[str, Any], origin: Path, path: str = "") -> None:
    """An unknown key at any level is an error that names the nearest known one."""
    hints = typing.get_type_hints(section)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(section)}
    for key, value in data.items():
        if key not in fields:
            raise UserError(
                f"{origin}: unknown key {path}{shown(str(key))}; {nearest(str(key), list(fields))}"
            )
        inner = fields[key]
        if typing.get_origin(inner) is tuple:
            inner = typing.get_args(inner)[0]
        if dataclasses.is_dataclass(inner):
            for item in value if isinstance(value, list | tuple) else [value]:
                if isinstance(item, dict):
                    _refuse_unknown(inner, item, origin, f"{path}{key}.")


def _read(file: Path) -> dict[str, Any]:
    data = read_mapping(file, "must hold keys like 'tuning:' and 'seed:'")
    # A run's own run.yaml is a settings file too.
    return data["run"] if {"run", "pictures"} <= data.keys() else data


def concepts_in(file: Path) -> dict[Path, dict[str, Any]]:
    """What a settings file says of concepts, by their folders; none: nothing.

    Raises:
        UserError: an entry that names no folder.
    """
    entries: Any = _read(file).get("concepts") or []
    found: dict[Path, dict[str, Any]] = {}
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, dict) or not isinstance(entry.get("images"), str):
            raise UserError(f"{file}: concepts must be a list, each with its folder as images")
        found[Path(entry["images"]).resolve()] = entry
    return found


def nested(flags: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as sections: {"tuning.steps": 8} to {"tuning": {"steps": 8}}."""
    data: dict[str, Any] = {}
    for dotted, value in flags.items():
        *sections, key = dotted.split(".")
        place = data
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return data


def _merge(into: dict[str, Any], layer: dict[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
