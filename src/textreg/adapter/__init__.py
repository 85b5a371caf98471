"""The learned concept on disk: one word vector and a low-rank edit; one file per format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from textreg.config import Property
from textreg.method.token_gate import EditedTokens

GATED = (
    "its edit is gated (it acts on the identifier's token only), which no other program can do: "
    "draw it with textreg sample"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """A learned concept: what a run makes and what sampling takes."""

    identifier: str
    noun: str
    learnable_property: Property
    vector: Tensor
    """The identifier's word vector, [width]; with two text encoders one of each, side by side."""
    factors: dict[str, tuple[Tensor, Tensor]] = field(repr=False)
    """(A [r, width], B [out, r]) by projection name; the edit is (alpha / r) B A."""
    alpha: float
    second_width: int = 0
    """How much of the vector is the second text encoder's; 0: there is one encoder."""
    edited_tokens: EditedTokens = "all"
    """Whose keys and values the edit changes; "identifier" needs textreg's own sampling."""
    digest: str = ""
    """Hash of the run it comes from."""

    @property
    def rank(self) -> int:
        """Rank r of the edit."""
        return next(iter(self.factors.values()))[0].shape[0]

    def word_tensors(self, key: str) -> dict[str, Tensor]:
        """The vector as a file holds it: by a key, or by the names of two text encoders."""
        if not self.second_width:
            return {key: self.vector[None]}
        first = len(self.vector) - self.second_width
        return {"clip_l": self.vector[None, :first], "clip_g": self.vector[None, first:]}

    @property
    def prompt(self) -> str:
        """The prompt that shows the concept."""
        words = f"{self.identifier} {self.noun}"
        if self.learnable_property == "style":
            return f"a photo in the style of {words}"
        return f"a photo of a {words}"

    def save(self, folder: Path) -> None:
        """Write the two files of a run's folder, which plain diffusers loads unless gated."""
        from textreg.adapter.diffusers_files import files
        from textreg.checkpoint import publish

        for name, data in files(self).items():
            publish(folder / name, data)

    @classmethod
    def load(cls, path: Path) -> Adapter:
        """Read a run's folder, or an adapter's file of any form that docs/formats.md lists.

        Raises:
            UserError: one line about what is wrong with which file.
        """
        from textreg.adapter.reading import Told, read

        return read(path, Told())[0]
