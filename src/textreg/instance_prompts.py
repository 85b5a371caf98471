"""Which picture a sample gets, and under which prompt: a template, or the picture's own caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from textreg.annotations import Annotation
from textreg.captions import caption_templates
from textreg.config import Concept, Images
from textreg.prompts import instance_templates
from textreg.randomness import Draws


class PictureChoice:
    """Draws the pictures of a concept's samples: each as often as its repeats say.

    All samples of a micro-batch have the shape of the first one's picture, so that the denoiser
    sees one tensor; over steps each picture is seen as often as without shapes. One shape is the
    plain draw, and so are equal repeats.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], repeats: Sequence[int] = ()):
        """Fix the pool.

        Args:
            shapes: of each picture's views.
            repeats: of each picture; empty: all alike.
        """
        self.shapes = tuple(shapes)
        repeats = tuple(repeats) or (1,) * len(shapes)
        each = math.gcd(*repeats) or 1
        self._all = [n for n, count in enumerate(repeats) for _ in range(count // each)]
        self._like = {
            shape: [n for n in self._all if shapes[n] == shape] for shape in set(self.shapes)
        }

    def pictures(self, samples: Sequence[Draws]) -> list[int]:
        """The picture of each sample of one micro-batch."""
        first = self._all[samples[0].index("picture", len(self._all))]
        like = self._like[self.shapes[first]]
        return [first, *(like[d.index("picture", len(like))] for d in samples[1:])]


@dataclass(frozen=True, kw_only=True, slots=True)
class InstancePrompts:
    """A concept's instance prompts, as templates with {} where its words go."""

    templates: tuple[str, ...]
    rows_of: tuple[tuple[int, ...], ...] = ()
    """The templates that each picture may be called by; empty: all of them, whatever it is."""
    choice: PictureChoice | None = None
    """Draws the pictures; needed only beside `rows_of`."""

    @classmethod
    def of(
        cls,
        concept: Concept,
        settings: Images,
        annotations: Sequence[Annotation] = (),
        choice: PictureChoice | None = None,
    ) -> InstancePrompts:
        """Captions where pictures have any, else the user's templates, else the package's."""
        own = caption_templates(settings.templates, concept) or instance_templates(concept)
        if not any(a.captions for a in annotations):
            return cls(templates=tuple(own))
        pool = list(own) if any(not a.captions for a in annotations) else []
        plain = tuple(range(len(pool)))
        rows_of: list[tuple[int, ...]] = []
        for annotation in annotations:
            captions = caption_templates(annotation.captions, concept)
            rows_of.append(tuple(range(len(pool), len(pool) + len(captions))) or plain)
            pool += captions
        return cls(templates=tuple(pool), rows_of=tuple(rows_of), choice=choice)

    def rows(self, samples: Sequence[Draws]) -> list[int]:
        """The template of each sample of one micro-batch."""
        if self.choice is None:
            return [d.index("template", len(self.templates)) for d in samples]
        own = [self.rows_of[picture] for picture in self.choice.pictures(samples)]
        return [rows[d.index("template", len(rows))] for rows, d in zip(own, samples, strict=True)]
