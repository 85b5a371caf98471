"""Prompt pools: template files, one prompt a line, {} where the concept's words go."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

from textreg.config import Concept, EditPool, TextReg
from textreg.errors import UserError
from textreg.regular_file import read_regular

_MOST_PROMPTS = 1 << 24
"""Bytes of a user's prompt file."""
Pool = Literal["class", "class_elsewhere", "neighbour", "general", "null"]


def templates(name: str) -> list[str]:
    """The lines of templates/NAME.txt."""
    text = (files("textreg") / "templates" / f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]


def instance_templates(concept: Concept) -> list[str]:
    """The textual-inversion templates: 27 for objects, 19 for styles (FORMATS 10)."""
    return templates(f"instance_{concept.learnable_property}")


def class_prompts(concept: Concept, settings: TextReg) -> list[str]:
    """The class pool, filled with the noun, the empty prompt with it if that is held."""
    pool = list(settings.class_prompts) or templates(f"class_{concept.learnable_property}")
    if settings.class_templates == "one":
        pool = pool[:1]
    return [t.replace("{}", concept.noun) for t in pool] + [""] * settings.null_prompt


def edit_templates(concept: Concept, pool: EditPool) -> list[str]:
    """The templates of the edit-prior term."""
    if pool == "edit_head":
        name = "edit_head" if concept.learnable_property == "object" else "instance_style"
        return templates(name)
    if pool == "instance" or concept.learnable_property == "style":
        return instance_templates(concept)
    own = templates("edit_training")
    return own if pool == "training" else instance_templates(concept) + own


def drift_pools(concept: Concept) -> dict[Pool, list[str]]:
    """Prompts on which drift is watched; none of them contains the identifier."""
    own = concept.noun.casefold().split()
    nouns = [noun for noun in templates("nouns") if noun.casefold() not in own]
    first = templates(f"class_{concept.learnable_property}")[0]
    return {
        "class": [first.replace("{}", concept.noun)],
        "neighbour": [first.replace("{}", noun) for noun in nouns],
        "general": templates("general"),
        "null": [""],
    }


def read_prompt_file(path: Path) -> list[str]:
    """Prompts of a user's file, one a line.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or holds a NUL byte or no
            prompt; names the line.
    """
    data = read_regular(path, most=_MOST_PROMPTS)
    if not (prompts := decoded_lines(str(path), data)):
        raise UserError(f"{path}: no prompt in it; write one a line")
    return prompts


def decoded_lines(name: str, data: bytes) -> list[str]:
    """The lines of a text that are not blank, stripped.

    Raises:
        UserError: it is not UTF-8 or holds a NUL byte; names the line.
    """
    text = decoded(name, data)
    for number, line in enumerate(text.splitlines(), 1):
        if "\0" in line:
            raise UserError(f"{name}, line {number}: contains a NUL byte")
    return [line.strip() for line in text.splitlines() if line.strip()]


def decoded(name: str, data: bytes) -> str:
    """A text from its bytes, which may begin with a byte order mark.

    Raises:
        UserError: it is not UTF-8; names the line.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{name}, line {line}: not UTF-8; save the file as UTF-8") from None
