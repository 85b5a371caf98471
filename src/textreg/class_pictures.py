"""Pictures of a concept's class, drawn by the base or yours, and the record of their content.

RUN/class_images/CONCEPT/pictures.json holds name, sha256 and prompt of each picture, in order; the
drawn ones lie beside it. Drawing is in groups of fixed members, each a function of the seed, the
concept and the picture's number, so a run that was stopped while drawing ends with the same files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image

from textreg.backbone import Backbone
from textreg.checkpoint import publish
from textreg.concept import inspect_folder, read_picture
from textreg.config import ClassImages, Concept, Images, Run
from textreg.errors import UserError
from textreg.png_file import png_bytes
from textreg.prompts import read_prompt_file, templates
from textreg.randomness import generator
from textreg.sampling import PictureModel, sample

_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassPicture:
    """One picture of the class."""

    name: str
    sha256: str
    prompt: str


def record_folder(run_folder: Path, concept: Concept) -> Path:
    """Where a concept's record is, and its drawn pictures."""
    return run_folder / "class_images" / concept.name


def class_prompt(concept: Concept) -> str:
    """The prompt that the base's pictures are drawn of: "a photo of a cat"."""
    return templates(f"class_{concept.learnable_property}")[0].replace("{}", concept.noun)


def draw(run: Run, concept: Concept, backbone: Backbone, folder: Path) -> Iterator[str]:
    """Draw a concept's class pictures into `record_folder`, or those that are left.

    Yields:
        A line after each group.

    Raises:
        UserError: a picture has changed since it was drawn, or the disk is full.
    """
    place, settings = record_folder(folder, concept), run.class_images
    known = {picture.name: picture for picture in recorded(place)}
    names = [f"{number:05}.png" for number in range(settings.count)]
    done = {name for name in known if _is_whole(place / name, known[name])}
    prompt = class_prompt(concept)
    for start in range(0, settings.count, _AT_ONCE):
        group = names[start : start + _AT_ONCE]
        if done.issuperset(group):
            continue
        seeds = [_seed(run, concept, start + n) for n in range(len(group))]
        drawn = sample(
            PictureModel(backbone),
            [prompt] * len(group),
            seeds=seeds,
            steps=settings.steps,
            guidance=settings.guidance,
            resolution=run.images.resolution,
            batch_size=len(group),
        )
        for name, picture in zip(group, drawn, strict=True):
            if name not in done:
                data = png_bytes(picture.image)
                publish(place / name, data)
                known[name] = ClassPicture(name=name, sha256=_hash(data), prompt=prompt)
        _record(place, [known[name] for name in names if name in known])
        yield f"drew {start + len(group)} of {settings.count} pictures of {prompt!r}"


def users_pictures(run: Run, concept: Concept) -> list[ClassPicture]:
    """The pictures of the user's folder with their prompts, each looked at.

    Raises:
        UserError: the folder is not there, a picture is not usable, or a prompt is missing.
    """
    source = source_folder(run, concept)
    found = inspect_folder(source, settings=Images(captions=False, masks="off"))
    if found.errors:
        raise UserError(f"{source}, pictures of the class: {found.errors[0]}")
    paths = [picture.path for picture in found.pictures]
    return [
        ClassPicture(
            name=picture.path.relative_to(source).as_posix(), sha256=picture.sha256, prompt=prompt
        )
        for picture, prompt in zip(
            found.pictures, _captions(run.class_images, concept, paths), strict=True
        )
    ]


def adopt(run: Run, concept: Concept, folder: Path) -> None:
    """Record the pictures of the user's folder, or compare them with the record.

    Raises:
        UserError: as `users_pictures`; or one has changed since.
    """
    own, place = users_pictures(run, concept), record_folder(folder, concept)
    if (before := recorded(place)) and before != own:
        raise UserError(
            f"{source_folder(run, concept)}: its pictures or prompts have changed since this run "
            "began; choose another --out"
        )
    if not before:
        _record(place, own)


def source_folder(run: Run, concept: Concept) -> Path:
    """The user's folder of a concept's class pictures.

    Raises:
        UserError: it is not there.
    """
    assert run.class_images.folder is not None
    folder = run.class_images.folder
    folder = folder if len(run.concepts) == 1 else folder / concept.name
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder with pictures of the class")
    return folder


def _captions(settings: ClassImages, concept: Concept, paths: list[Path]) -> list[str]:
    if settings.captions is None:
        beside = [path.with_suffix(".txt") for path in paths]
        return [
            read_prompt_file(text)[0] if text.is_file() else class_prompt(concept)
            for text in beside
        ]
    lines = read_prompt_file(settings.captions)
    if len(lines) not in (1, len(paths)):
        raise UserError(
            f"{settings.captions}: has {len(lines)} prompts for {len(paths)} pictures; write one a "
            "picture, or one for all"
        )
    return lines * len(paths) if len(lines) == 1 else lines


def read(
    run: Run, concept: Concept, folder: Path
) -> tuple[Iterator[Image.Image], list[ClassPicture]]:
    """The pictures, each read when its turn comes, and what is recorded of them.

    Raises:
        UserError: a picture has changed since.
    """
    place = record_folder(folder, concept)
    source = place if run.class_images.folder is None else source_folder(run, concept)
    found = recorded(place)
    for picture in found:
        if not _is_whole(source / picture.name, picture):
            raise UserError(f"{source / picture.name}: is missing; give the same command again")
    return (read_picture(source / picture.name) for picture in found), found


def _is_whole(path: Path, picture: ClassPicture) -> bool:
    """Whether a picture is there; what is there must be what was recorded."""
    if not path.is_file():
        return False
    if _hash(path.read_bytes()) != picture.sha256:
        raise UserError(f"{path}: has changed since it was recorded; delete it to draw it again")
    return True


def recorded(place: Path) -> list[ClassPicture]:
    """The record in a `record_folder`, or as much of it as there is.

    Raises:
        UserError: it is damaged.
    """
    path = place / "pictures.json"
    if not path.is_file():
        return []
    try:
        return [ClassPicture(**entry) for entry in json.loads(path.read_bytes())]
    except (ValueError, TypeError):
        raise UserError(f"{path}: is not what this program writes; delete {place}") from None


def _record(place: Path, pictures: list[ClassPicture]) -> None:
    publish(place / "pictures.json", json.dumps([asdict(p) for p in pictures], indent=1).encode())


def _seed(run: Run, concept: Concept, number: int) -> int:
    random = generator(run.seed, concept.name, "class picture", number)
    return int(torch.randint(2**62, (1,), generator=random))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
