"""Settings of the pictures: what is learned, and how it is seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from textreg.config.later import LATER

Property = Literal["object", "style"]
Masks = Literal["beside", "alpha", "off"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Concept:
    """What is learned: pictures, the class noun, and the new word that stands before it."""

    images: Path
    """Folder with the concept's pictures."""
    noun: str
    """Class noun, for example "cat" (for a style: "painting")."""
    identifier: str = "<krk1>"
    """The new word, lower case; prompts say "<krk1> cat"."""
    learnable_property: Property = "object"
    """Whether the pictures show an object or a style."""
    masks: Path | None = field(default=None, metadata=LATER)
    """Folder with masks of the pictures' names; none: NAME-masklabel.png beside NAME.jpg."""
    trigger: str | None = field(default=None, metadata=LATER)
    """What captions and templates call it, beside [trigger]; none: the identifier."""

    @property
    def name(self) -> str:
        """The folder's name: the concept's name in files and in the random streams."""
        return self.images.resolve().name if self.images.name in ("", "..") else self.images.name

    @property
    def words(self) -> str:
        """What stands in a prompt's {}: "<krk1> cat" (METHOD: identifier as an adjective)."""
        return f"{self.identifier} {self.noun}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """How pictures become training views."""

    resolution: int | None = None
    """Side in pixels; none: the base model's own."""
    center_crop: bool = True
    """Crop the centre; otherwise a random place along the long side."""
    flip: bool = True
    """Mirror half of the views."""
    jitter: bool = True
    """Colour jitter: brightness .2, contrast .1."""
    views: int | None = 8
    """Views a picture, each encoded once and kept; none: a fresh view each step."""
    buckets: bool = field(default=False, metadata=LATER)
    """Keep each picture's shape: the nearest aspect bucket in place of the square."""
    masks: Masks = field(default="beside", metadata=LATER)
    """"beside", in files of their own; "alpha", the pictures' transparency; "off"."""
    captions: bool = field(default=True, metadata=LATER)
    """Use captions beside the pictures and in metadata.jsonl as their prompts."""
    templates: tuple[str, ...] = field(default=(), metadata=LATER)
    """Your own instance prompts, [trigger] where the concept's words go; empty: the package's."""
