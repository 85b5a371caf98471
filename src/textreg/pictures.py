"""One picture file in, one upright 8-bit sRGB picture out, or one line that says why not.

Every conversion is defined: transparency lies on white, 16 bits keep their high byte, an embedded
colour profile is converted to sRGB, orientation is applied, of several frames the first counts.
Nothing is guessed: a file that ends early is refused, never filled up with grey.
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from textreg.errors import UserError
from textreg.file_kinds import printable
from textreg.picture_container import Container, ContainerError, read_container

MAX_PIXELS = 80_000_000
"""Stored pixels; below Pillow's own warning (89 M), far above any photograph needed here."""

MAX_FILE_BYTES = 256 * 2**20
"""No photograph of `MAX_PIXELS` is larger."""

MAX_ASPECT = 20
"""Long side over short side; a square cut from anything longer shows nothing of it."""

MIN_SIDE = 32
"""Pixels of the short side."""

MAX_PROFILE_BYTES = 4 * 2**20
"""Of an ICC profile; the largest printing profiles have 3 MiB."""

BACKGROUND = (255, 255, 255)
"""Transparent pixels lie on white."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_MODE_OF_SPACE = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
# What Pillow's parsers and decoders raise on files nobody meant to write. MemoryError is no part of
# it: the size was checked, so running out of memory is the machine's state, not the picture's.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
)


class PictureError(UserError):
    """A picture cannot be used. One line: the file's name, what is wrong, what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A checked picture file."""

    path: Path
    """Where it lies."""
    sha256: str
    """Of the file's bytes, in hex: tells a later reader whether it is still the same picture."""
    width: int
    """Pixels, after orientation."""
    height: int
    """Pixels, after orientation."""


def read_picture(path: Path) -> Image.Image:
    """Reads a JPEG, PNG or WebP file as a checked, upright, 8-bit sRGB picture.

    Args:
        path: The file; its content decides the format, not its suffix.

    Returns:
        A picture of mode RGB, fully decoded, without metadata.

    Raises:
        PictureError: The file cannot be read, is incomplete, damaged, of another kind, too large,
            too small or too long, or carries a metadata bomb.
    """
    return read_checked(path)[1]


def read_checked(path: Path) -> tuple[Picture, Image.Image]:
    """Reads a picture as `read_picture` does, with its record; both come from the same bytes.

    Raises:
        PictureError: As for `read_picture`.
    """
    picture, image, _ = read_with_alpha(path)
    return picture, image


def read_with_alpha(path: Path) -> tuple[Picture, Image.Image, Image.Image | None]:
    """Reads a picture as `read_checked` does, with its transparency (mode L) if it has any.

    Raises:
        PictureError: As for `read_picture`.
    """
    try:
        data = _read_file(path)
        image, alpha = _decode(read_container(data))
    except ContainerError as error:
        raise PictureError(f"{printable(path.name)}: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    picture = Picture(path=path, sha256=digest, width=image.width, height=image.height)
    return picture, image, alpha


def _read_file(path: Path) -> bytes:
    try:
        if not path.is_file():  # a pipe would wait for ever, a folder or a dead link has no bytes
            missing = not path.exists()
            raise ContainerError("no such file, or a dead link" if missing else "not a plain file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ContainerError(
                f"larger than {MAX_FILE_BYTES >> 20} MiB; export it smaller, as JPEG or PNG"
            )
        return path.read_bytes()
    except OSError as error:
        raise ContainerError(f"cannot be read ({error.strerror}); check its permissions") from error


def _decode(container: Container) -> tuple[Image.Image, Image.Image | None]:
    """Turns a container into an upright RGB picture and its transparency.

    Sizes are checked before any decoder runs.
    """
    _check_size(container.width, container.height)
    if container.icc and len(container.icc) > MAX_PROFILE_BYTES:
        raise ContainerError(
            f"its colour profile exceeds {MAX_PROFILE_BYTES >> 20} MiB; save it again as sRGB"
        )
    image = _pixels(container, container.payload)
    if container.probe and _pixels(container, container.probe).tobytes() != image.tobytes():
        raise ContainerError("the picture data ends early; copy or download it again")
    image, alpha = _to_rgb(image, container.icc)
    turn = _TURNS.get(_orientation(container.exif))
    image = _turned(image, turn)
    return image, None if alpha is None else _turned(alpha, turn)


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    # Either way a plain picture, no file object; what it remembers of its file must not act twice.
    image = image.copy() if turn is None else image.transpose(turn)
    image.info = {}
    return image


def _check_size(width: int, height: int) -> None:
    size = f"{width} x {height} pixels"
    if width * height > MAX_PIXELS:
        raise ContainerError(
            f"{size}, over {MAX_PIXELS // 10**6} million; scale it down, 2000 a side suffice"
        )
    if min(width, height) < MIN_SIDE:
        raise ContainerError(f"{size} is too small; the short side needs at least {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ContainerError(f"{size} is too long and narrow; crop it to what it shows")


def _pixels(container: Container, payload: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(payload), formats=["JPEG", "PNG", "WEBP"])
        if image.format != container.format or image.size != (container.width, container.height):
            raise ContainerError("its parts contradict each other; save the picture again")
        image.load()
    except ContainerError:
        raise
    except _PILLOW_ERRORS as error:
        raise ContainerError("damaged, it cannot be decoded; copy or download it again") from error
    return image


def _orientation(exif: bytes | None) -> int:
    """Finds the orientation in an EXIF block's first directory; unreadable counts as upright.

    Read by hand, as a full EXIF parser follows every pointer of a hostile block and warns about
    half of the blocks that cameras write.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get((exif or b"")[:4])
    if not exif or not order:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == _ORIENTATION:
                value = {3: "H", 4: "I"}.get(kind, "x")
                return next(iter(struct.unpack_from(order + value, exif, entry + 8)), 1)
    except struct.error:
        pass
    return 1


def _to_rgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, Image.Image | None]:
    """Converts any decoded mode to RGB: colours to sRGB, then transparency onto the background.

    Returns the transparency as well, None of an opaque picture.
    """
    alpha = None
    if image.mode == "I;16":
        samples = np.asarray(image)
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            alpha = Image.fromarray(np.where(samples == clear, 0, 255).astype(np.uint8))
        # The high byte, as Pillow keeps of 16-bit colour; its own conversion of grey clips at 255.
        image = Image.fromarray((samples >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA")
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.getchannel("R") if grey else image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode == "P":
        image = image.convert("RGB")
    image = _to_srgb(image, icc)
    if alpha is None or alpha.getextrema() == (255, 255):
        return image, None
    return Image.composite(image, Image.new("RGB", image.size, BACKGROUND), alpha), alpha


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Applies an embedded profile; one that is unreadable or of another colour space is ignored."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            if _MODE_OF_SPACE.get(icc[16:20]) == image.mode:
                transform = ImageCms.buildTransform(
                    profile, ImageCms.createProfile("sRGB"), image.mode, "RGB"
                )
                if image.mode != "RGB" or not _is_identity(transform):
                    converted = ImageCms.applyTransform(image, transform)
                    if converted is not None:
                        return converted
        except (ImageCms.PyCMSError, OSError):
            pass
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Tells whether a profile is sRGB under another name; its rounding would cost exact pixels."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    moved = ImageCms.applyTransform(Image.fromarray(grid), transform)
    return moved is not None and int(np.abs(np.asarray(moved, int) - grid).max()) <= 1
