"""Settings that came later: at their default they say nothing, so older runs keep their names."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

LATER = {"later": True}
"""Metadata of a field that is left out of a run's identity while it has its default."""


def without_later(section: Any, data: dict[str, Any]) -> dict[str, Any]:
    """A section's plain data without the later fields that have their defaults, at every level.

    Args:
        section: its class.
        data: as JSON has it; a key that is missing stays so.
    """
    hints = typing.get_type_hints(section)
    left = dict(data)
    for field in dataclasses.fields(section):
        if field.name not in left:
            continue
        value, kind = left[field.name], hints[field.name]
        if typing.get_origin(kind) is tuple:
            kind = typing.get_args(kind)[0]
        if field.metadata.get("later") and value == _plain(field):
            del left[field.name]
        elif dataclasses.is_dataclass(kind) and isinstance(value, dict):
            left[field.name] = without_later(kind, typing.cast(dict[str, Any], value))
            if value and not left[field.name]:
                del left[field.name]
        elif dataclasses.is_dataclass(kind) and isinstance(value, list):
            items = typing.cast(list[Any], value)
            left[field.name] = [without_later(kind, i) if isinstance(i, dict) else i for i in items]
    return left


def _plain(field: dataclasses.Field[Any]) -> Any:
    return list(field.default) if isinstance(field.default, tuple) else field.default
