"""`textreg check DIR`: what is in these folders, and what is wrong with it, before anything slow.

Exit code 0: every concept can be trained; 2: at least one cannot, or there is none. Warnings do not
change it. `--json` prints one object and nothing else on stdout:

    {"path": str, "ok": bool, "error": str | null,          error: why nothing could be checked
     "concepts": [{"name": str, "path": str, "noun": str | null, "usable": bool,
                   "pictures": [{"file": str, "width": int, "height": int, "sha256": str,
                                 "prompts": [str], "mask": str | null, "repeats": int}],
                   "skipped": [{"name": str, "reason": str}],
                   "errors": [str], "warnings": [str]}]}

Width and height are pixels after orientation; `noun` null means that --noun must be given.
`prompts` are the picture's captions as training reads them, [trigger] for the concept's words;
none: the templates. `mask` is the name of the mask's file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from textreg.annotations import Annotation
from textreg.captions import TRIGGER, caption_templates
from textreg.concept import Folder, concept_noun, inspect_folder
from textreg.config import Concept
from textreg.file_kinds import printable
from textreg.folder_entries import concepts_below, has_pictures
from textreg.kohya_folders import concept_folders


def check(path: Path, as_json: bool) -> int:
    """Inspects one concept's folder, or a folder of concept folders, and prints the result.

    Args:
        path: A folder with pictures, or one whose sub-folders hold them.
        as_json: One JSON object (see the module's text) in place of the table.

    Returns:
        The exit code: 0 if every concept is usable, else 2.
    """
    error, folders = None, []
    try:
        folders = [inspect_folder(folder) for folder in _concept_folders(path)]
    except OSError as problem:
        error = f"{_shown(path)}: {problem.strerror}; give a folder of pictures, or of such folders"
    else:
        if all(not folder.pictures and not has_pictures(folder.path) for folder in folders):
            error = _nothing_found(path, folders)
    if error:
        folders = []
    usable = bool(folders) and all(folder.usable for folder in folders)
    if as_json:
        print(json.dumps(_as_json(path, folders, usable, error), indent=1))
    elif not error:
        _print_report(folders)
    if error:
        print(error, file=sys.stderr)
    return 0 if usable else 2


def _concept_folders(path: Path) -> list[Path]:
    """Returns `path` itself if it holds pictures, else its visible sub-folders, else itself."""
    if has_pictures(path) or path in concept_folders(path):
        return [path]
    below = sorted(
        entry
        for entry in path.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name != "__MACOSX"
    )
    return below or [path]


def _nothing_found(path: Path, folders: list[Folder]) -> str:
    if len(folders) == 1:
        return f"{_shown(path)}: {folders[0].errors[0].partition(': ')[2]}"
    for folder in folders:
        if concepts_below(folder.path):
            deeper = _shown(folder.path)
            return f"{_shown(path)}: no folders of pictures in it, but in {deeper}; check that one"
    return (
        f"{_shown(path)}: no pictures in it or in its {len(folders)} folders; "
        "a concept is a folder with 4 to 6 JPEG, PNG or WebP files"
    )


def _as_json(path: Path, folders: list[Folder], usable: bool, error: str | None) -> dict[str, Any]:
    return {
        "path": str(path),
        "ok": usable,
        "error": error,
        "concepts": [_concept_json(folder) for folder in folders],
    }


def _concept_json(folder: Folder) -> dict[str, Any]:
    concept = _concept(folder)
    return {
        "name": _name(folder),
        "path": str(folder.path),
        "noun": _noun(folder),
        "usable": folder.usable,
        "pictures": [
            {
                "file": picture.path.relative_to(folder.path).as_posix(),
                "width": picture.width,
                "height": picture.height,
                "sha256": picture.sha256,
                "prompts": _prompts(concept, annotation),
                "mask": annotation.mask and annotation.mask.path.name,
                "repeats": annotation.repeats,
            }
            for picture, annotation in zip(folder.pictures, folder.annotations, strict=True)
        ],
        "skipped": [{"name": name, "reason": reason} for name, reason in folder.skipped],
        "errors": list(folder.errors),
        "warnings": list(folder.warnings),
    }


def _print_report(folders: list[Folder]) -> None:
    console = Console(file=sys.stdout, highlight=False)
    table = Table()
    for title in ("concept", "noun", "pictures", "size", "state"):
        table.add_column(title, overflow="fold")
    for folder in folders:
        table.add_row(*(_cell(console, text) for text in _row(folder)))
    if not console.is_terminal:  # a pipe has no width: nothing may be folded or cut there
        unlimited = console.options.update(max_width=1_000_000)
        console.width = max(console.width, console.measure(table, options=unlimited).maximum)
    console.print(table)
    for folder in folders:
        _print_lines(console, _name(folder), "error", "red", folder.errors)
        _print_lines(console, _name(folder), "warning", "yellow", folder.warnings)
        # A reason with advice is among the warnings already.
        skipped = [f"{name}: {reason}" for name, reason in folder.skipped if ";" not in reason]
        _print_lines(console, _name(folder), "skipped", "dim", skipped)
        _print_lines(console, _name(folder), "beside", "dim", _beside(folder))
    num_usable = sum(folder.usable for folder in folders)
    num_pictures = sum(len(folder.pictures) for folder in folders)
    concepts = "concept" if len(folders) == 1 else "concepts"
    console.print(f"{num_usable} of {len(folders)} {concepts} usable, {num_pictures} pictures")


def _row(folder: Folder) -> tuple[str, str, str, str, str]:
    sides = sorted((min(p.width, p.height), p.width, p.height) for p in folder.pictures)
    sizes = [f"{width} x {height}" for _, width, height in (sides[:1] + sides[-1:])]
    state = "ok" if folder.usable else "not usable"
    if folder.usable and folder.warnings:
        state = f"ok, {len(folder.warnings)} warning{'s' if len(folder.warnings) > 1 else ''}"
    name = _name(folder)
    noun = _noun(folder) or "? (give --noun)"
    size = " to ".join(dict.fromkeys(sizes)) or "-"
    return printable(name), noun, str(len(folder.pictures)), size, state


def _noun(folder: Folder) -> str | None:
    kohya = concept_folders(folder.path).get(folder.path)
    return kohya.noun if kohya else concept_noun(_name(folder))


def _concept(folder: Folder) -> Concept:
    """The concept whose words captions are searched for."""
    kohya = concept_folders(folder.path).get(folder.path)
    return Concept(
        images=folder.path,
        noun=_noun(folder) or TRIGGER,
        identifier=kohya.identifier if kohya else "<krk1>",
    )


def _prompts(concept: Concept, annotation: Annotation) -> list[str]:
    """A picture's captions as training reads them."""
    return [
        template.replace("{}", TRIGGER)
        for template in caption_templates(annotation.captions, concept)
    ]


def _beside(folder: Folder) -> list[str]:
    """A line for each picture that has captions, a mask or repeats."""
    lines: list[str] = []
    concept = _concept(folder)
    for picture, own in zip(folder.pictures, folder.annotations, strict=True):
        known = [f"mask {printable(own.mask.path.name)}"] if own.mask else []
        known += [f"{own.repeats} repeats"] if own.repeats > 1 else []
        known += [f'"{printable(prompt)}"' for prompt in _prompts(concept, own)]
        name = printable(picture.path.relative_to(folder.path).as_posix())
        lines += [f"{name}: {', '.join(known)}"] if known else []
    return lines


def _print_lines(
    console: Console, concept: str, label: str, style: str, lines: Iterable[str]
) -> None:
    own = printable(concept)
    for line in lines:
        text = Text()
        text.append(f"{label:8}", style)
        text.append_text(_cell(console, line if line.startswith(f"{own}: ") else f"{own}/{line}"))
        console.print(text, soft_wrap=True)


def _cell(console: Console, text: str) -> Text:
    """Wraps text without markup, in characters that the output can encode; folded, never cut."""
    encoded = text.encode(console.encoding, "backslashreplace").decode(console.encoding)
    return Text(encoded, overflow="fold")


def _name(folder: Folder) -> str:
    """Returns the folder's own name; "." is called what it is called from outside."""
    return os.path.basename(os.path.abspath(folder.path)) or str(folder.path)


def _shown(path: Path) -> str:
    return printable(str(path))
