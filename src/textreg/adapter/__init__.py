"""The learned concept on disk: a word's vectors and a low-rank edit; one file per format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from textreg.config import Property
from textreg.method.encoder_edit import text_names
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
    """The identifier's word vectors one after the other, [num_vectors * width]; with two text
    encoders each is one of both, side by side."""
    factors: dict[str, tuple[Tensor, Tensor]] = field(repr=False)
    """(A [r, width], B [out, r]) by projection name; the edit is (alpha / r) B A. The denoiser's
    come first; a text encoder's may be of another rank, and r is the denoiser's for all."""
    alpha: float
    num_vectors: int = 1
    """Tokens that the identifier stands for."""
    second_width: int = 0
    """How much of a vector is the second text encoder's; 0: there is one encoder."""
    edited_tokens: EditedTokens = "all"
    """Whose keys and values the edit changes; "identifier" needs textreg's own sampling."""
    digest: str = ""
    """Hash of the run it comes from."""

    @property
    def rank(self) -> int:
        """Rank r of the denoiser's edit, which comes first."""
        return next(iter(self.factors.values()))[0].shape[0]

    @property
    def encoder_rank(self) -> int:
        """Rank of the edit of the text encoders; 0: there is none."""
        return next((len(self.factors[name][0]) for name in text_names(self.factors)), 0)

    @property
    def width(self) -> int:
        """Numbers of one word vector."""
        return len(self.vector) // self.num_vectors

    def word_tensors(self, key: str) -> dict[str, Tensor]:
        """The vectors as a file holds them: by a key, or by the names of two text encoders."""
        rows = self.vector.unflatten(0, (self.num_vectors, -1))
        if not self.second_width:
            return {key: rows}
        first = self.width - self.second_width
        return {"clip_l": rows[:, :first], "clip_g": rows[:, first:]}

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
