"""The other files in a person's picture folder: what they are, and how their names are printed."""

from __future__ import annotations

from pathlib import PurePath

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp"})
"""A file so named is meant as a picture: if it cannot be read, that is an error, not a skip."""

_BY_MAGIC = {
    b"GIF8": "a GIF picture",
    b"II*\0": "a TIFF or camera raw picture",
    b"MM\0*": "a TIFF or camera raw picture",
    b"BM": "a BMP picture",
    b"\0\0\1\0": "an ICO picture",
    b"8BPS": "a Photoshop file",
    b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG\r\n\x1a\n": "a PNG picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive",
    b"version https://git-lfs": "a Git LFS pointer (the picture itself was not downloaded)",
}
_BY_BRAND = {
    **dict.fromkeys((b"avif", b"avis"), "an AVIF picture"),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "a HEIC picture"
    ),
}
_FROM_FILE_MANAGERS = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"})


_SHOWN = 100
"""Letters of a stranger's text in one message."""


def describe_content(head: bytes) -> str:
    """Names what a file is by its first bytes, to complete "this is ...".

    Args:
        head: The first 64 bytes or more.
    """
    if head[4:8] == b"ftyp":
        return _BY_BRAND.get(head[8:12], "a video")
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP picture"
    for magic, name in _BY_MAGIC.items():
        if head.startswith(magic):
            return name
    start = head[:64].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if start.startswith((b"<?xml", b"<svg")):
        return "an SVG drawing or XML"
    return "of an unknown kind"


def remedy(head: bytes) -> str:
    """Says what to do with a file that is not a JPEG, PNG or WebP, by its first bytes."""
    kind = describe_content(head)
    if kind == "a HEIC picture":
        return (
            "convert it (`heif-convert in.heic out.jpg`, or export it as JPEG; to take JPEGs on an "
            "iPhone: Settings > Camera > Formats > Most Compatible)"
        )
    if kind.endswith("picture"):
        return "convert it (`magick in out.png`, or export it as PNG from a viewer)"
    return "remove it or put the picture in its place"


def skip_reason(name: str, head: bytes) -> str | None:
    """Says why a regular file is no picture of the concept, or None if it is meant as one.

    A semicolon in the reason introduces advice: the file is a picture that could be used.

    Args:
        name: File name without folder.
        head: The first 64 bytes or more.
    """
    suffix = PurePath(name).suffix.lower()
    if name.startswith("."):
        return "hidden file"
    if name.lower() in _FROM_FILE_MANAGERS:
        return "written by a file manager"
    if suffix in PICTURE_SUFFIXES:
        return None
    if suffix in (".txt", ".caption", ".json", ".jsonl", ".csv", ".yaml", ".yml"):
        return "caption or metadata, not used"
    kind = describe_content(head)
    if kind in ("a JPEG picture", "a PNG picture", "a WebP picture"):
        return f"{kind} by content; name it .{kind.split()[1].lower()} to use it"
    if kind.endswith("picture"):
        return f"{kind}; {remedy(head)}"
    return "not a picture" if kind == "of an unknown kind" else f"{kind}, not a picture"


def printable(name: str) -> str:
    """Returns a file name that is safe on one line of a terminal.

    Line breaks, escape sequences, undecodable bytes and invisible direction marks are written as
    Python escapes; letters of any script and emoji, joined ones too, stay.
    """
    zero_width_joiner = "\u200d"
    return "".join(
        char
        if char.isprintable() or char == zero_width_joiner
        else char.encode("unicode_escape").decode("ascii")
        for char in name
    )


def shown(text: str) -> str:
    """Text of a stranger's file, safe on one line of a terminal and not longer than one."""
    return printable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
