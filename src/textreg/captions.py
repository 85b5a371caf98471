"""Captions as users have them: NAME.txt beside NAME.jpg, metadata.jsonl; and what they become.

A caption becomes an instance template: {} stands where the concept's words go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from textreg.config import Concept
from textreg.errors import UserError
from textreg.file_kinds import printable
from textreg.prompts import decoded, decoded_lines

CAPTION_SUFFIXES = (".txt", ".caption")
"""Of a file beside its picture; kohya's tools and OneTrainer write them."""

METADATA = "metadata.jsonl"
"""One {"file_name": ..., "text": ...} a line, as the datasets library's imagefolder has it."""

TRIGGER = "[trigger]"
"""Stands for the concept's words in a caption or a template, as in ai-toolkit."""

_MOST_BYTES = 2**20
"""Of a caption file."""

_MOST_METADATA_BYTES = 64 * _MOST_BYTES


def captions_beside(picture: Path) -> tuple[str, ...]:
    """The captions in the file beside a picture, one a line; none if there is no file.

    Raises:
        UserError: it cannot be read or holds no text, or there are two.
    """
    files = [f for f in (picture.with_suffix(s) for s in CAPTION_SUFFIXES) if f.is_file()]
    if not files:
        return ()
    if len(files) > 1:
        raise UserError(
            f"{printable(picture.name)}: has two caption files, "
            f"{' and '.join(printable(f.name) for f in files)}; remove one"
        )
    name = printable(files[0].name)
    if not (lines := decoded_lines(name, _bytes(files[0], name))):
        raise UserError(f"{name}: is empty; write the caption of {printable(picture.name)} into it")
    return tuple(lines)


def read_metadata(folder: Path) -> dict[str, str]:
    """The caption of each picture that a folder's metadata.jsonl names, by relative name.

    Raises:
        UserError: names the line, and what is wrong with it.
    """
    path = folder / METADATA
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    text = decoded(METADATA, _bytes(path, METADATA, _MOST_METADATA_BYTES))
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{METADATA}, line {number}"
            name, caption = _entry(line, where)
            if name in found:
                raise UserError(f"{where}: {printable(name)} was named before; remove one line")
            found[name] = caption
    return found


def _entry(line: str, where: str) -> tuple[str, str]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise UserError(f"{where}: is not JSON; one object a line is expected") from None
    fields: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {}
    name, caption = fields.get("file_name"), fields.get("text")
    if not isinstance(name, str) or not isinstance(caption, str) or not caption.strip():
        raise UserError(
            f'{where}: needs the texts "file_name" and "text", like '
            '{"file_name": "00.jpg", "text": "a photo of [trigger]"}'
        )
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name + caption:
        raise UserError(
            f"{where}: {printable(name)} is no file below this folder, or a text holds a NUL; "
            "name the picture like 00.jpg"
        )
    return str(path), " ".join(caption.split())


def _bytes(path: Path, name: str, most: int = _MOST_BYTES) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}; check its permissions") from None
    if len(data) > most:
        raise UserError(f"{name}: larger than {most >> 20} MiB; is it a text of captions?")
    return data


def caption_template(caption: str, concept: Concept) -> str:
    """A caption with {} where the concept's words go.

    They stand where the trigger stands: [trigger], {}, the identifier (or the concept's own
    trigger), or that without its angle brackets; a noun directly behind it belongs to it. A caption
    without the trigger gets one: in the place of the first mention of the noun, else in front
    ("{}, caption"; for a style behind, "caption, in the style of {}"). So the noun always follows
    the identifier, as the identifier mask needs it.
    """
    noun = r"\s+".join(re.escape(word) for word in concept.noun.split())
    called = concept.identifier if concept.trigger is None else concept.trigger
    bare = called.strip("<>")
    words = [re.escape(TRIGGER), r"\{\}", _word(re.escape(called))]
    if bare and bare not in concept.noun.lower().split():
        words.append(_word(re.escape(bare)))
    template, count = re.subn(
        rf"(?:{'|'.join(words)})(?:\s+{noun}(?!\w))?", "{}", caption, flags=re.IGNORECASE
    )
    if not count:
        template, count = re.subn(_word(noun), "{}", caption, count=1, flags=re.IGNORECASE)
    if count:
        return template
    if concept.learnable_property == "style":
        return f"{caption}, in the style of {{}}"
    return f"{{}}, {caption}"


def caption_templates(captions: Sequence[str], concept: Concept) -> list[str]:
    """Each caption as a template."""
    return [caption_template(caption, concept) for caption in captions]


def _word(pattern: str) -> str:
    """What is no part of a longer word; "<krk1>" may stand right beside one."""
    start = r"(?<!\w)" if re.match(r"\w", pattern) else ""
    return start + pattern + (r"(?!\w)" if re.search(r"\w$", pattern) else "")
