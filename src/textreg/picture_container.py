"""What a JPEG, PNG or WebP file says about itself, read from its bytes without decoding a pixel.

Image libraries allocate before they look (a WebP canvas), unpack metadata nobody asked for (PNG
text chunks) and accept files that end early (a PNG without IEND). So each file is walked here
first: its size and completeness are known before a decoder runs, and the decoder is then handed
only the parts that make pixels. Profile and orientation travel beside them.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from textreg.file_kinds import describe_content, remedy

MAX_INFLATED = 4 * 2**20
"""Bytes one compressed PNG text or ICC chunk may expand to (real profiles stay below 3 MiB)."""

MAX_SCANS = 100
"""Scans of a progressive JPEG; encoders write about ten, each one costs a pass over the picture."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_SPARE = b"\xaa\x55" * 64
_RESTART_MARKER = re.compile(rb"\xff+[\xd0-\xd7]")
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_TRUNCATED = "the file is cut short; copy or download it again"
_DAMAGED = "the file is damaged; copy or download it again"


class ContainerError(ValueError):
    """The file cannot be used; the message says what is wrong and what to do, without the name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """One picture file, taken apart."""

    format: Literal["JPEG", "PNG", "WEBP"]
    """By content; the suffix plays no part."""
    width: int
    """Pixels, as stored (before orientation)."""
    height: int
    """Pixels, as stored (before orientation)."""
    payload: bytes
    """The file again, reduced to what a decoder needs for the pixels of the first frame."""
    probe: bytes | None = None
    """JPEG only: `payload` with spare data after every run of picture data.

    A decoder that finds too little data before a marker fills up with grey and says nothing, but it
    ignores data that it does not need. So payload and probe decode alike if nothing is missing.
    """
    icc: bytes | None = None
    """The embedded colour profile, inflated."""
    exif: bytes | None = None
    """The EXIF block (TIFF bytes), unparsed."""


def read_container(data: bytes) -> Container:
    """Walks a picture file from first byte to last without decoding it.

    Args:
        data: The whole file.

    Returns:
        Its format, stored size, decoder input, profile and EXIF block.

    Raises:
        ContainerError: The file is empty, of another kind, incomplete, damaged, HDR, or carries
            metadata that expands beyond `MAX_INFLATED`.
    """
    if not data:
        raise ContainerError("the file is empty; copy or download it again")
    if data.startswith(b"\xff\xd8"):
        return _read_jpeg(data)
    if data.startswith(_PNG_MAGIC):
        return _read_png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _read_webp(data)
    if any(magic.startswith(data) for magic in (b"\xff\xd8", _PNG_MAGIC, b"RIFF")):
        raise ContainerError(_TRUNCATED)
    raise ContainerError(f"{describe_content(data)}, not a JPEG, PNG or WebP; {remedy(data)}")


# PNG ---------------------------------------------------------------------------------------------


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (type, body) up to IEND; every length and checksum is verified on the way."""
    at = len(_PNG_MAGIC)
    while True:
        if at + 12 > len(data):
            raise ContainerError(_TRUNCATED)
        length, kind = struct.unpack_from(">I4s", data, at)
        if not kind.isalpha():
            raise ContainerError(_DAMAGED)
        end = at + 12 + length
        if end > len(data):
            raise ContainerError(_TRUNCATED)
        body = data[at + 8 : end - 4]
        # Pillow does not verify the checksum of pixel chunks; a flipped bit would reach training.
        if zlib.crc32(body, zlib.crc32(kind)) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ContainerError(_DAMAGED)
        yield kind, body
        if kind == b"IEND":
            return
        at = end


def _read_png(data: bytes) -> Container:
    width = height = 0
    icc = exif = None
    kept: list[bytes] = [_PNG_MAGIC]
    depth = colour = -1
    seen: set[bytes] = set()
    for kind, body in _png_chunks(data):
        if (kind == b"IHDR") != (not seen):
            raise ContainerError(_DAMAGED)
        seen.add(kind)
        if kind == b"IHDR":
            if len(body) != 13:
                raise ContainerError(_DAMAGED)
            width, height, depth, colour = struct.unpack_from(">IIBB", body)
            if depth not in _PNG_BIT_DEPTHS.get(colour, ()):
                raise ContainerError(_DAMAGED)
        elif kind == b"cICP" and len(body) == 4 and body[1] in (16, 18):
            raise ContainerError("an HDR picture (PQ or HLG); export it as sRGB")
        elif kind == b"iCCP":
            icc = _inflate(body.partition(b"\0")[2][1:], "colour profile") or None
        elif kind == b"zTXt":
            _inflate(body.partition(b"\0")[2][1:], "text")
        elif kind == b"iTXt":
            fields = body.partition(b"\0")[2]
            if fields[:1] == b"\1":
                _inflate(fields[2:].partition(b"\0")[2].partition(b"\0")[2], "text")
        elif kind == b"eXIf":
            exif = body
        if kind == b"tRNS":
            body = _eight_bit_transparency(body, depth, colour)
        # Only these make pixels: text, animation and private chunks never reach the decoder, so an
        # animated PNG is its default image.
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            check = struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
            kept += [struct.pack(">I", len(body)), kind, body, check]
    if b"IDAT" not in seen or (colour == 3 and b"PLTE" not in seen):
        raise ContainerError(_DAMAGED)
    return Container(
        format="PNG", width=width, height=height, payload=b"".join(kept), icc=icc, exif=exif
    )


def _inflate(packed: bytes, what: str) -> bytes:
    """Unpacks a metadata chunk within the limit; an unreadable one counts as absent."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(packed, MAX_INFLATED)
    except zlib.error:
        return b""
    if unpacker.unconsumed_tail:
        raise ContainerError(
            f"its {what} chunk expands beyond {MAX_INFLATED >> 20} MiB; save the picture again "
            "without metadata"
        )
    return plain


def _eight_bit_transparency(body: bytes, depth: int, colour: int) -> bytes:
    """Rescales the transparent grey or colour to the 8 bits that Pillow's pixels have.

    Pillow compares the raw sample with the scaled pixel, which never matches at 2 or 4 bits, nor at
    16 bits a colour. 16-bit grey stays as it is: its pixels do too.
    """
    if colour == 3:
        return body
    count = {0: 1, 2: 3}.get(colour, 0)
    if len(body) < 2 * count or not count:
        raise ContainerError(_DAMAGED)
    samples = struct.unpack_from(f">{count}H", body)
    if colour == 0 and depth in (2, 4):
        samples = tuple(value * 255 // (2**depth - 1) for value in samples)
    elif colour == 2 and depth == 16:
        samples = tuple(value >> 8 for value in samples)
    return struct.pack(f">{count}H", *(value & 0xFFFF for value in samples))


# JPEG --------------------------------------------------------------------------------------------


def _read_jpeg(data: bytes) -> Container:
    at, size, num_scans = 2, None, 0
    exif = None
    profile: dict[int, bytes] = {}
    num_profile_parts = 0
    kept: list[bytes] = [data[:2]]
    probe: list[bytes] = [data[:2]]
    while True:
        while data[at : at + 2] == b"\xff\xff":  # fill bytes may precede any marker
            at += 1
        if at + 2 > len(data):
            raise ContainerError(_TRUNCATED)
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0x00, 0xD8):
            raise ContainerError(_DAMAGED)
        if marker == 0xD9:
            break
        if at + 4 > len(data):
            raise ContainerError(_TRUNCATED)
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if end > len(data):
            raise ContainerError(_TRUNCATED)
        body = data[at + 4 : end]
        if marker == 0xE1 and body.startswith(b"Exif\0\0") and exif is None:
            exif = body[6:]
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            num_profile_parts = body[13]
            profile[body[12]] = body[14:]
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if size is not None or len(body) < 6:
                raise ContainerError(_DAMAGED)
            if body[0] != 8:
                raise ContainerError(f"a JPEG with {body[0]} bits a colour; save it with 8")
            size = struct.unpack_from(">HH", body, 1)
        elif marker == 0xDA:
            num_scans += 1
            following = _NEXT_MARKER.search(data, end)
            if following is None:
                raise ContainerError(_TRUNCATED)
            if num_scans > MAX_SCANS:
                raise ContainerError(f"more than {MAX_SCANS} scans; save the picture again")
            picture_data = data[end : following.start()].rstrip(b"\xff")
            kept += [data[at:end], picture_data]
            probe += [data[at:end], _RESTART_MARKER.sub(_SPARE + rb"\g<0>", picture_data), _SPARE]
            at = end = following.start()
        # Of the application data the decoder needs the JFIF and Adobe markers alone: they say how
        # the colours are stored. The second picture of an MPO never reaches it.
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            kept.append(data[at:end])
            probe.append(data[at:end])
        at = end
    if size is None or not num_scans:
        raise ContainerError(_DAMAGED)
    complete = len(profile) == num_profile_parts
    icc = b"".join(profile[part] for part in sorted(profile)) if profile and complete else None
    return Container(
        format="JPEG",
        width=size[1],
        height=size[0],
        payload=b"".join([*kept, b"\xff\xd9"]),
        probe=b"".join([*probe, b"\xff\xd9"]),
        icc=icc,
        exif=exif,
    )


# WebP --------------------------------------------------------------------------------------------


def _read_webp(data: bytes) -> Container:
    if len(data) < 12:
        raise ContainerError(_TRUNCATED)
    stop = 8 + struct.unpack_from("<I", data, 4)[0]
    if stop > len(data):
        raise ContainerError(_TRUNCATED)
    size, icc, exif, at = None, None, None, 12
    while at + 8 <= stop:
        kind, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + length]
        if at + 8 + length > stop:
            raise ContainerError(_TRUNCATED)
        if size is None:  # the first chunk says how large the canvas is
            size = _webp_size(kind, body)
        elif kind == b"ICCP":
            icc = body
        elif kind == b"EXIF":
            exif = body.removeprefix(b"Exif\0\0")
        at += 8 + length + (length & 1)
    if size is None:
        raise ContainerError(_TRUNCATED)
    return Container(
        format="WEBP", width=size[0], height=size[1], payload=data[:stop], icc=icc, exif=exif
    )


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind == b"VP8X" and len(body) >= 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(body) >= 10 and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise ContainerError(_DAMAGED)
