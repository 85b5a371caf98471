"""YAML that a user wrote: a mapping, or one line about what is wrong with the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from textreg.errors import UserError


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
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{named}{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{named}{path}: not readable as YAML: {first}") from None
    if not isinstance(data, dict):
        raise UserError(f"{named}{path}: {expected}")
    return data
