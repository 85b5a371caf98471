"""Broken and hostile files: one line by name, before a decoder allocates anything."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from textreg.picture_container import MAX_INFLATED, ContainerError, read_container
from textreg.pictures import PictureError, read_picture

FILES = {
    "JPEG": ("JPEG", {"quality": 90}),
    "JPEG progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "JPEG with restarts": ("JPEG", {"quality": 90, "restart_marker_rows": 1}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {"quality": 90}),
    "WebP lossless": ("WEBP", {"lossless": True}),
}


def encode(kind: str, width: int = 64, height: int = 48) -> bytes:
    """Returns random pixels, all of which need data, as file bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    format, options = FILES[kind]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """Returns a PNG chunk with a right checksum."""
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(kind: bytes, body: bytes) -> bytes:
    """Returns a good PNG with one more chunk before its pixels."""
    data = encode("PNG")
    return data[:33] + chunk(kind, body) + data[33:]


def refusal(folder: Path, data: bytes, name: str = "a picture.jpg") -> str:
    """Returns the one line that refuses the file, name and rest apart."""
    path = folder / name
    path.write_bytes(data)
    with pytest.raises(PictureError) as caught:
        read_picture(path)
    line = str(caught.value)
    assert line.startswith(f"{name}: ")
    assert "; " in line, "what is wrong; what to do"
    assert line.isprintable()
    return line.partition(": ")[2]


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_anywhere_is_refused(tmp_path, kind):
    data = encode(kind)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    for percent in range(0, 100, 5):
        refusal(tmp_path, data[: len(data) * percent // 100])
    for missing in (1, 2, 5, 12):
        refusal(tmp_path, data[:-missing])


@pytest.mark.parametrize("kind", ["JPEG", "JPEG progressive", "JPEG with restarts"])
def test_a_jpeg_cut_and_closed_is_refused_not_padded_with_grey(tmp_path, kind):
    data = encode(kind)
    head = data.rindex(b"\xff\xda") + 14
    for cut in np.linspace(head, len(data) - 4, 40).astype(int):
        refusal(tmp_path, data[: int(cut)].rstrip(b"\xff") + b"\xff\xd9")


def test_a_flat_jpeg_is_not_mistaken_for_a_cut_one(tmp_path):
    for grey in (0, 127, 128, 255):
        for progressive in (False, True):
            buffer = io.BytesIO()
            Image.new("RGB", (70, 50), (grey,) * 3).save(buffer, "JPEG", progressive=progressive)
            path = tmp_path / "flat.jpg"
            path.write_bytes(buffer.getvalue())
            assert read_picture(path).getpixel((69, 49)) == (grey,) * 3


@pytest.mark.parametrize("kind", FILES)
def test_flipped_bits_give_a_whole_picture_or_a_refusal(tmp_path, kind):
    data = encode(kind, 40, 36)
    path = tmp_path / "flipped.png"
    random = np.random.default_rng(1)
    num_read = 0
    for at in [*range(0, 64, 2), *random.integers(0, len(data), 60).tolist()]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        try:
            image = read_picture(path)
        except PictureError:
            continue
        num_read += 1
        assert (image.mode, len(image.tobytes())) == ("RGB", 3 * image.width * image.height)
    if kind == "PNG":
        assert num_read == 0, "every bit of a PNG is under a checksum"


def ihdr(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def sof(width: int, height: int) -> bytes:
    data = encode("JPEG")
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def vp8x(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size + encode("WebP")[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def bomb(size: int) -> bytes:
    """Returns deflate, a thousandth of `size`, that expands to `size` zero bytes."""
    packer = zlib.compressobj(9)
    block = bytes(2**20)
    return b"".join(packer.compress(block) for _ in range(size // 2**20)) + packer.flush()


READ_ALL = """
import resource, sys
from pathlib import Path
from PIL import Image
from textreg.pictures import PictureError, read_picture
Image.preinit(); Image.init()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 32 * 2**20,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_picture(path)
        print(path.name, "was read")
    except PictureError as error:
        print(error)
assert "torch" not in sys.modules
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to limit the memory")
def test_bombs_are_refused_in_little_memory(tmp_path):
    packed = bomb(2**26)
    bombs = {
        "jpeg-square": sof(30_000, 30_000),
        "jpeg-long": sof(64, 65_500),
        "png-square": ihdr(30_000, 30_000),
        "png-long": ihdr(1, 10**6),
        "png-largest": ihdr(2**31 - 1, 2**31 - 1),
        "webp-square": vp8x(30_000, 30_000),
        "webp-long": vp8x(1, 10**6),
        "text": with_chunk(b"zTXt", b"Comment\0\0" + packed),
        "itext": with_chunk(b"iTXt", b"Comment\0\1\0en\0\0" + packed),
        "profile": with_chunk(b"iCCP", b"icc\0\0" + packed),
    }
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-W", "error", "-c", READ_ALL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert (done.returncode, done.stderr) == (0, "")
    assert set(lines) == set(bombs)
    for name in ("jpeg-square", "png-square", "png-largest", "webp-square"):
        assert "over 80 million" in lines[name]
    for name in ("png-long", "webp-long"):
        assert "too small" in lines[name]
    assert "too long and narrow" in lines["jpeg-long"]
    for name in ("text", "itext", "profile"):
        assert "expands beyond 4 MiB" in lines[name]


def test_ordinary_png_metadata_is_no_bomb(tmp_path):
    long_text = zlib.compress(bytes(MAX_INFLATED - 1))
    for number, data in enumerate(
        (
            with_chunk(b"zTXt", b"workflow\0\0" + long_text),
            with_chunk(b"tEXt", b"workflow\0" + b"{}" * 10**6),
            with_chunk(b"zTXt", b"broken\0\0no deflate at all"),
            with_chunk(b"acTL", b""),
            with_chunk(b"abCd", b"private"),
            encode("PNG") + b"a trailing note",
        )
    ):
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        assert read_picture(path).size == (64, 48)


FOREIGN = {
    "HEIC picture": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50),
    "AVIF picture": b"\0\0\0\x18ftypavif\0\0\0\0" + bytes(50),
    "GIF picture": b"GIF89a" + bytes(50),
    "TIFF": b"II*\0" + bytes(50),
    "BMP": b"BM" + bytes(50),
    "web page": b"\n<!DOCTYPE html><html>404</html>",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "video": b"\0\0\0\x18ftypmp42" + bytes(50),
    "unknown kind": b"just some words",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_wrong_type_inside_a_jpg_is_named(tmp_path, kind):
    line = refusal(tmp_path, FOREIGN[kind])
    assert kind in line
    assert ("heif-convert" in line) == (kind == "HEIC picture")


def test_other_refusals_say_why(tmp_path):
    assert "empty" in refusal(tmp_path, b"")
    assert "HDR" in refusal(tmp_path, with_chunk(b"cICP", bytes([9, 16, 0, 1])))
    assert "damaged" in refusal(tmp_path, encode("PNG").replace(b"IDAT", b"IDAU"))
    assert "too small" in refusal(tmp_path, encode("PNG", 31, 64))
    assert "too long" in refusal(tmp_path, encode("PNG", 32, 641))
    twelve_bits = bytearray(encode("JPEG"))
    twelve_bits[twelve_bits.index(b"\xff\xc0") + 4] = 12
    assert "12 bits" in refusal(tmp_path, bytes(twelve_bits))
    jpeg = encode("JPEG")
    at = jpeg.index(b"\xff\xda")
    assert "scans" in refusal(tmp_path, jpeg[:at] + jpeg[at:-2] * 101 + jpeg[-2:])


def test_any_bytes_are_a_container_or_a_container_error():
    random = np.random.default_rng(2)
    for kind in FILES:
        data = encode(kind)
        for _ in range(60):
            start, stop = sorted(random.integers(0, len(data), 2).tolist())
            shuffled = data[:start] + random.bytes(int(random.integers(8))) + data[stop:]
            try:
                container = read_container(shuffled)
            except ContainerError:
                continue
            assert container.width >= 0
