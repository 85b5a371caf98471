"""YAML that a user wrote: a mapping, or one line about what is wrong with the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from textreg.errors import UserError
from textreg.file_kinds import shown
from textreg.regular_file import read_regular

MOST_YAML = 1 << 22
"""Bytes of a file of settings or of a run's record."""
_MOST_DEPTH = 50
"""PyYAML's time grows with the square of the depth."""
_LOADER: type[yaml.CSafeLoader | yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same language read in C where PyYAML was built with it, several times as fast."""
_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_IN_CONSTRUCTORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What PyYAML lets through, for a date without a day, `!!bool x`, or a thousand brackets."""


def parse(text: bytes) -> Any:
    """The content of a YAML text; whatever is wrong with it is a YAMLError.

    Aliases are refused: nine of them in a row can stand for a billion items.
    """
    try:
        decoded = text.decode("utf-8-sig")
        depth = 0
        for token in yaml.scan(decoded, _LOADER):
            line = token.start_mark.line + 1
            if isinstance(token, yaml.AliasToken):
                raise yaml.YAMLError(f"line {line} has an alias; write out what it stands for")
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > _MOST_DEPTH:
                raise yaml.YAMLError(f"line {line} is nested more than {_MOST_DEPTH} levels deep")
        return yaml.load(decoded, _LOADER)
    except _IN_CONSTRUCTORS as error:
        raise yaml.YAMLError(str(error)) from None


def read_mapping(path: Path, expected: str, named: str = "") -> dict[Any, Any]:
    """Read a file that must hold keys and values.

    Args:
        path: the file.
        expected: what to say of it if it holds anything else.
        named: what stands before it in the message, like "--priors ".

    Raises:
        UserError: it is missing, not YAML, or no mapping.
    """
    try:
        data = parse(read_regular(path, most=MOST_YAML, named=named))
    except yaml.YAMLError as error:
        first, *_ = str(error).splitlines() or ["no YAML"]
        raise UserError(f"{named}{path}: not readable as YAML: {shown(first)}") from None
    if not isinstance(data, dict):
        raise UserError(f"{named}{path}: {expected}")
    return data
