"""What is compared: priors, each with settings of its own. Imports no torch.

none,textreg,textreg:textreg.hard=true,textreg.edit_weight=0.001     at the shell

none: {}                                                             in a YAML file
hard: {prior: textreg, textreg: {hard: true, edit_weight: 0.001}}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import textreg.priors as priors
from textreg.errors import UserError
from textreg.yaml_file import parse, read_mapping

_SHARED = (
    *("concepts", "base", "revision", "out", "seed", "images", "inversion", "tuning.steps"),
    *("device", "dtype", "save_steps", "card_pictures"),
)
"""Settings that must be the same for all, or there is nothing to compare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One of the priors, with its settings."""

    label: str
    """What table and plot call it."""
    settings: dict[str, Any]
    """By dotted key; "prior" is always among them."""

    @property
    def folder(self) -> str:
        """The label as a folder's name."""
        return re.sub(r"[^A-Za-z0-9.+=_-]+", "_", self.label)


def variants_of(text: str) -> tuple[Variant, ...]:
    """The variants that `--priors` names, the reference first.

    Args:
        text: words joined by commas, or the name of a .yaml file.

    Raises:
        UserError: an unknown prior, a setting that all share, or a name given twice.
    """
    is_file = text.endswith((".yaml", ".yml"))
    found = _from_file(Path(text)) if is_file else _from_words(text)
    if len(found) < 2:
        raise UserError(f"--priors {text}: names {len(found)}; a comparison needs at least 2")
    for variant in found:
        _refuse_unfit(variant)
    folders = [variant.folder for variant in found]
    for variant in found:
        # A plot's legend leaves out what begins with "_".
        taken = variant.folder in ("word", ".", "..") or variant.label.startswith("_")
        if folders.count(variant.folder) > 1 or taken:
            raise UserError(f"--priors: {variant.label!r} is given twice, or is no usable name")
    return tuple(found)


def _from_words(text: str) -> list[Variant]:
    entries: list[str] = []
    for piece in text.split(","):
        # "textreg.edit_weight=0.001" goes on with the variant before it.
        if entries and "=" in piece and ":" not in piece.split("=")[0]:
            entries[-1] += f",{piece}"
        else:
            entries.append(piece)
    found: list[Variant] = []
    for entry in entries:
        prior, _, rest = entry.partition(":")
        settings: dict[str, Any] = {"prior": prior}
        for item in rest.split(",") if rest else []:
            key, equals, value = item.partition("=")
            if not key or not equals:
                raise UserError(f"--priors: {item!r} of {entry!r} must be like textreg.hard=true")
            settings[key] = _value(value, item, entry)
        found.append(Variant(label=entry, settings=settings))
    return found


def _value(text: str, item: str, entry: str) -> Any:
    try:
        value = parse(text.encode())
    except yaml.YAMLError:
        raise UserError(f"--priors: the value of {item!r} in {entry!r} is no YAML") from None
    if isinstance(value, dict):
        raise UserError(f"--priors: {item!r} of {entry!r} must be like textreg.hard=true")
    return value


def _from_file(path: Path) -> list[Variant]:
    expected = "must hold names with settings, like 'none: {}'"
    data = read_mapping(path, expected, "--priors ")
    if not all(isinstance(value, dict | None) for value in data.values()):
        raise UserError(f"--priors {path}: {expected}")
    found: list[Variant] = []
    for label, given in data.items():
        settings: dict[str, Any] = {"prior": str(label)}
        for key, value in (given or {}).items():
            inner = value.items() if isinstance(value, dict) else [(None, value)]
            settings |= {f"{key}.{k}" if k is not None else str(key): v for k, v in inner}
        found.append(Variant(label=str(label), settings=settings))
    return found


def _refuse_unfit(variant: Variant) -> None:
    for key in variant.settings:
        if (section := key.partition(".")[0]) != key and section in variant.settings:
            raise UserError(
                f"--priors: {variant.label} sets {section} and {key}, but {section} has no settings"
            )
    try:
        priors.split(str(variant.settings["prior"]))
    except UserError as error:
        raise UserError(str(error).replace("--prior ", "--priors: ", 1)) from None
    for key in variant.settings:
        if key in _SHARED or key.split(".")[0] in _SHARED:
            raise UserError(
                f"--priors: {variant.label} sets {key}, which all share; set it in --config or by "
                "its flag"
            )
