"""Command-line values, and a parser that names the nearest known flag."""

from __future__ import annotations

import argparse
import difflib
import math
import re
from pathlib import Path
from typing import Any, NoReturn

_CLOSE = 0.585
"""difflib's ratio from which a flag is taken for another: --steps is close to --tuning-steps."""


def some_text(text: str) -> str:
    """A text that is not empty, as what a variable that is not set leaves."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty, as a variable that is not set")
    return text


def some_path(text: str) -> Path:
    """A path; an empty one is not taken for the folder one is in."""
    return Path(some_text(text))


def whole_number(text: str) -> int:
    """A number from 0 up."""
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def count_or_auto(text: str) -> int | str:
    """A number from 1 up, or auto."""
    if text != "auto" and not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a whole number from 1 up")
    return text if text == "auto" else int(text)


def seed_number(text: str) -> int:
    """A seed, from 0 to 2^63 - 1."""
    if not re.fullmatch(r"\d{1,19}", text) or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2^63 - 1")
    return int(text)


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def guidance_scale(text: str) -> float:
    """A finite number from 0 up; below 0 a picture would be guided away from its own prompt."""
    if (value := number(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is negative; it must be 0 or more")
    return value


def _bare(flag: str) -> str:
    """What is compared of a flag: its words."""
    return flag.lstrip("-").replace("_", "-")


class NearestParser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest known flag, and exits with 2."""

    def __init__(self, **options: Any):
        super().__init__(**options, allow_abbrev=False)

    def parse_known_args(self, *given: Any, **named: Any) -> Any:
        """As argparse's, but a verb answers for its flags itself: it knows which ones it has."""
        found, unknown = super().parse_known_args(*given, **named)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """One line and exit code 2."""
        if found := re.search(r"unrecognized arguments: (-\S+)", message):
            word = found[1].split("=")[0]
            known = {_bare(flag): flag for flag in reversed(self._known_flags())}
            close = difflib.get_close_matches(_bare(word), known, n=1, cutoff=_CLOSE)
            message = f"unknown flag {word}"
            message += f"; did you mean {known[close[0]]}?" if close else f"; see {self.prog} -h"
        self.exit(2, f"{self.prog}: {message}\n")

    def _known_flags(self) -> list[str]:
        flags: list[str] = []
        for action in self._actions:
            flags += action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for verb in action.choices.values():
                    flags += verb._known_flags()
        return flags
