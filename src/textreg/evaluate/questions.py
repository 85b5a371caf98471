"""What an evaluation asks: neighbour nouns, general prompts, held-out edits. Imports no torch.

A base's folder may hold its own in evaluation.yaml; a user's file replaces any of them by key:

    neighbours: [dog, car]                      nouns beside the concept's own
    general: [a red car in the city]            finished prompts
    edits:                                      {} is the concept
    - a photo of a {} in the jungle
    - {prompt: "a photo of a {} wearing a hat", shows: {accessory: hat}}
    steps: 25                                   steps, guidance and sampler that suit the base
    guidance: 5
    sampler: ddim
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from textreg.config import Concept, TextReg
from textreg.errors import UserError
from textreg.prompts import edit_templates, instance_templates, templates
from textreg.yaml_file import read_mapping

QUESTIONS_FILE = "evaluation.yaml"
SamplerName = Literal["ddim", "dpm", "euler"]
"""Those that draw the same picture each time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """A prompt that asks something of the concept, and how to see whether it was followed."""

    prompt: str
    """{} stands for the concept."""
    shows: dict[str, str] = field(default_factory=dict)
    """Attribute and value that pictures must show, for extractors that read attributes."""

    def of(self, words: str) -> str:
        """The prompt with words in its {}."""
        return self.prompt.replace("{}", words)


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """The prompt pools of an evaluation; none of them trains."""

    neighbours: tuple[str, ...]
    """Nouns beside the concept's own."""
    general: tuple[str, ...]
    """Finished prompts."""
    edits: tuple[Edit, ...]
    """Held out: no prompt that training used."""
    left_out: tuple[str, ...] = ()
    """Edits that were dropped because training used them."""
    steps: int = 25
    """Denoising steps."""
    guidance: float = 5.0
    """Classifier-free guidance."""
    sampler: SamplerName = "ddim"


def questions_for(
    concept: Concept,
    settings: TextReg,
    base: Path,
    file: Path | None = None,
    trained_on: Sequence[str] = (),
) -> Questions:
    """The questions for one concept: the user's file over the base's over textreg's own.

    Args:
        concept: its noun leaves the neighbours.
        settings: say which edits training used; those are dropped.
        base: the base's folder.
        file: the user's.
        trained_on: further prompts of this run's training, {} for the concept; dropped as well.

    Raises:
        UserError: a file that is not of this form, or no held-out edit is left.
    """
    given: dict[str, Any] = {}
    for path in (base / QUESTIONS_FILE, file):
        if path is not None and (path == file or path.is_file()):
            given |= _read(path)
    nouns = given.pop("neighbours", templates("nouns"))
    noun = concept.noun.casefold()
    neighbours = tuple(n for n in nouns if n.casefold() not in (noun, *noun.split()))
    if not neighbours:
        raise UserError(f"no neighbour noun is left beside {concept.noun!r}; name more, --prompts")
    edits = given.pop("edits", None) or _own_edits(concept, neighbours)
    asked = Questions(
        neighbours=neighbours,
        general=tuple(given.pop("general", templates("general"))),
        edits=tuple(edits),
        **given,
    )
    return _held_out(asked, concept, settings, trained_on)


def _own_edits(concept: Concept, neighbours: Sequence[str]) -> list[Edit]:
    """DreamBooth's 25 for an object; for a style, other things in it."""
    if concept.learnable_property == "object":
        return [Edit(prompt=prompt) for prompt in templates("edit_head")]
    return [Edit(prompt=f"a {noun} in the style of {{}}") for noun in neighbours]


def _held_out(
    asked: Questions, concept: Concept, settings: TextReg, trained_on: Sequence[str]
) -> Questions:
    # Whether or not this run's prior read its edit pool: priors must be compared on equal terms.
    trained = [*instance_templates(concept), *edit_templates(concept, settings.edit_prompts)]
    trained += settings.class_prompts or templates(f"class_{concept.learnable_property}")
    used = {_as_read(prompt) for prompt in (*trained, *trained_on)}
    edits = tuple(edit for edit in asked.edits if _as_read(edit.prompt) not in used)
    if not edits:
        raise UserError(
            f"all {len(asked.edits)} edits were training prompts (textreg.edit_prompts is "
            f"{settings.edit_prompts}; prompts and captions of your own count too): none is left "
            "to test with; give others with --prompts"
        )
    left_out = tuple(edit.prompt for edit in asked.edits if _as_read(edit.prompt) in used)
    return replace(asked, edits=edits, left_out=left_out)


def _as_read(prompt: str) -> str:
    """What a CLIP tokenizer makes no difference in is one prompt."""
    return " ".join(prompt.lower().split())


def _read(path: Path) -> dict[str, Any]:
    data = read_mapping(path, "must hold keys like 'neighbours:' and 'edits:'")
    wanted = {"neighbours": list, "general": list, "edits": list}
    wanted |= {"steps": int, "guidance": float, "sampler": str}
    for key, value in data.items():
        if key not in wanted:
            raise UserError(f"{path}: unknown key {key!s}; known: {', '.join(wanted)}")
        kind = wanted[key] if key != "guidance" else (int, float)
        if not isinstance(value, kind) or isinstance(value, bool) or not value:
            raise UserError(f"{path}: {key} is {value!r}; {_EXPECTED[key]}")
    # Said this way round, it is no answer of nan either.
    if not 0 < data.get("guidance", 1) < math.inf:
        raise UserError(f"{path}: guidance is {data['guidance']}; {_EXPECTED['guidance']}")
    if data.get("steps", 1) < 1:
        raise UserError(f"{path}: steps is {data['steps']}; {_EXPECTED['steps']}")
    if data.get("sampler", "ddim") not in get_args(SamplerName):
        raise UserError(f"{path}: sampler is {data['sampler']!r}; {_EXPECTED['sampler']}")
    for key in ("neighbours", "general"):
        for text in data.get(key, ()):
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"{path}: {key} holds {text!r}; {_EXPECTED[key]}")
    if "edits" in data:
        data["edits"] = [_edit(path, item) for item in data["edits"]]
    return data


_EXPECTED = {
    "neighbours": "it must be a list of nouns",
    "general": "it must be a list of prompts",
    "edits": "it must be a list of prompts with a {}",
    "steps": "it must be a whole number from 1 up",
    "guidance": "it must be a number above 0",
    "sampler": "it must be ddim, dpm or euler",
}


def _edit(path: Path, item: Any) -> Edit:
    entry = {"prompt": item} if isinstance(item, str) else item
    if not isinstance(entry, dict) or not {"prompt"} <= set(entry) <= {"prompt", "shows"}:
        raise UserError(f"{path}: edits holds {item!r}; write a prompt, or prompt: and shows:")
    prompt, shows = entry["prompt"], entry.get("shows", {})
    if not isinstance(prompt, str) or prompt.count("{}") != 1:
        raise UserError(f"{path}: the edit {prompt!r} must contain {{}} exactly once")
    if not isinstance(shows, dict) or not all(isinstance(v, str) for v in shows.values()):
        raise UserError(f"{path}: shows of {prompt!r} must be like {{scene: jungle}}")
    return Edit(prompt=prompt, shows=shows)
