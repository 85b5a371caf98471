"""A file of a learned concept, from whatever program, to a run's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from textreg.adapter import Adapter
from textreg.adapter.reading import Told, read
from textreg.base_shape import BaseShape, fitted
from textreg.checkpoint import publish
from textreg.config import Concept, Inversion, Run, Tuning, plain
from textreg.errors import UserError
from textreg.method.attention_edit import placement_of
from textreg.method.identifier import add_identifier
from textreg.run_record import typed_in


def import_file(
    file: Path, out: Path, told: Told, *, base: str = "toyland", revision: str | None = None
) -> tuple[Adapter, str]:
    """Make a run's folder of a file, for `textreg sample`, `evaluate` and `export`.

    Args:
        file: the adapter's file, or a folder that holds it.
        out: the folder to make.
        told: what the file may not say.
        base: the model that the adapter belongs to.
        revision: of a hub id.

    Returns:
        The concept, and the name of the form that the file had.

    Raises:
        UserError: the file cannot be read or does not fit the base, or something is in the way.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: is there already and not empty; choose a new folder")
    adapter, form = read(file, told)
    if not adapter.noun:
        raise UserError(f"{file}: does not say what it shows; give its class noun with --noun")
    shape = BaseShape.of(base, revision)
    adapter = replace(adapter, factors=fitted(adapter, shape.projections, base))
    try:
        add_identifier(
            shape.files.tokenizer(), adapter.identifier, adapter.noun, adapter.num_vectors
        )
    except ValueError as error:
        raise UserError(f"{error} (--identifier)") from None
    concept = Concept(
        # No pictures: a name is all that is known of them.
        images=Path(out.resolve().name),
        noun=adapter.noun,
        identifier=adapter.identifier,
        learnable_property=adapter.learnable_property,
    )
    try:
        run = Run(
            concepts=(concept,),
            base=base,
            revision=revision,
            out=out,
            prior="none",
            inversion=Inversion(steps=0, vectors=adapter.num_vectors),
            tuning=Tuning(
                steps=0,
                rank=adapter.rank,
                placement=placement_of(adapter.factors),
                text_encoder_rank=adapter.encoder_rank,
            ),
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    record = {
        "imported": {"file": file.resolve().name, "form": form},
        "run": plain(run),
        "typed_in": typed_in(out),
    }
    adapter.save(out)
    publish(out / "run.yaml", yaml.safe_dump(record, sort_keys=False).encode())
    return adapter, form
