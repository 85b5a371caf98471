"""Settings of the pictures: what is learned, and how it is seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Property = Literal["object", "style"]


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
