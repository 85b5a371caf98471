"""Pictures in: every mode, orientation and profile is defined, every broken file is refused."""

import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from textreg.pictures import read_checked, read_picture

RED, GREEN, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (255, 255, 255), (0, 0, 0)
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}}


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """Returns the picture as file bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """Returns random pixels: the data of every row is needed, and no block is flat."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def read(folder: Path, data: bytes, name: str = "picture.jpg") -> Image.Image:
    """Writes and reads; every picture that comes back is whole, plain RGB."""
    path = folder / name
    path.write_bytes(data)
    image = read_picture(path)
    assert image.mode == "RGB"
    assert type(image) is Image.Image
    assert image.info == {}
    return image


def chunk(kind: bytes, body: bytes) -> bytes:
    """Returns a PNG chunk with a right checksum."""
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def png(depth: int, colour: int, rows: bytes, *extra: bytes, size: tuple[int, int]) -> bytes:
    """Returns a hand-made PNG; `rows` includes the filter bytes."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows, 9))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + body + chunk(b"IEND", b"")
    )


def solid(depth: int, colour: int, sample: bytes, *extra: bytes) -> bytes:
    """Returns a 32 x 32 PNG of one raw sample (below 8 bits: of one byte of pixels)."""
    count = 32 if depth >= 8 else 32 * depth // 8
    return png(depth, colour, (b"\0" + sample * count) * 32, *extra, size=(32, 32))


def two_tone(mode: str, left: object, right: object) -> Image.Image:
    """Returns a 32 x 32 picture, left and right half of one value each."""
    image = Image.new(mode, (32, 32), left)  # type: ignore[arg-type]
    image.paste(right, (16, 0, 32, 32))  # type: ignore[arg-type]
    return image


def palette_picture() -> Image.Image:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (16, 0, 32, 32))
    return image


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


HALF = (127, 127, 255)  # blue at alpha 128 on white: 255 * 127 / 255
GOLDEN = {
    "RGB": (encode(two_tone("RGB", RED, GREEN)), RED, GREEN),
    "L": (encode(two_tone("L", 10, 200)), (10,) * 3, (200,) * 3),
    "1": (encode(two_tone("1", 0, 1)), BLACK, WHITE),
    "P": (encode(palette_picture()), RED, GREEN),
    "P, one entry clear": (encode(palette_picture(), transparency=1), RED, WHITE),
    "P, alpha table": (encode(palette_picture(), transparency=b"\x00\xff"), WHITE, GREEN),
    "LA": (encode(two_tone("LA", (10, 255), (10, 0))), (10,) * 3, WHITE),
    "RGBA": (encode(two_tone("RGBA", (0, 0, 255, 128), (9, 9, 9, 0))), HALF, WHITE),
    "RGBA WebP": (
        encode(two_tone("RGBA", (0, 0, 255, 128), (9, 9, 9, 0)), "WEBP", **LOSSLESS["WEBP"]),
        HALF,
        WHITE,
    ),
    "L, grey clear": (encode(two_tone("L", 10, 200), transparency=10), WHITE, (200,) * 3),
    "RGB, colour clear": (encode(two_tone("RGB", RED, GREEN), transparency=RED), WHITE, GREEN),
    "CMYK": (
        encode(two_tone("CMYK", (0, 0, 0, 0), (0, 0, 0, 255)), "JPEG", quality=100),
        WHITE,
        BLACK,
    ),
    "I;16": (solid(16, 0, words(0x8123)), (0x81,) * 3, (0x81,) * 3),
    "I;16, dark": (solid(16, 0, words(1000)), (3,) * 3, (3,) * 3),
    "I;16, clear": (solid(16, 0, words(1000), chunk(b"tRNS", words(1000))), WHITE, WHITE),
    "RGB 16 bits": (solid(16, 2, words(0x1122, 0x3344, 0xFFFF)), (0x11, 0x33, 0xFF), None),
    "RGB 16 bits, clear": (
        solid(16, 2, words(0x1122, 0x3344, 0), chunk(b"tRNS", words(0x1122, 0x3344, 0))),
        WHITE,
        None,
    ),
    "LA 16 bits": (solid(16, 4, words(0x2040, 0xFFFF)), (0x20,) * 3, None),
    "RGBA 16 bits": (solid(16, 6, words(0, 0, 0xFFFF, 0x8000)), HALF, None),
    "L 2 bits": (solid(2, 0, b"\x55"), (85,) * 3, None),
    "L 4 bits, clear": (solid(4, 0, b"\xaa", chunk(b"tRNS", words(10))), WHITE, None),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_every_mode_has_golden_pixels(tmp_path, name):
    data, left, right = GOLDEN[name]
    image = read(tmp_path, data)
    assert image.getpixel((0, 0)) == left
    assert image.getpixel((31, 31)) == (right or left)


def oriented(upright: Image.Image, orientation: int) -> Image.Image:
    """Returns the stored picture that `orientation` turns into `upright`, by index arithmetic."""
    pixels = np.asarray(upright)
    back = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[::-1],
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    }
    return Image.fromarray(np.ascontiguousarray(back[orientation](pixels)))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_all_eight_orientations_give_the_same_pixels(tmp_path, format):
    # Blocks of one colour survive JPEG alike in every orientation.
    upright = noise(6, 4).resize((96, 64), Image.Resampling.NEAREST)
    hashes = set()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = LOSSLESS.get(format, {"quality": 95, "subsampling": 0})
        data = encode(oriented(upright, orientation), format, exif=exif.tobytes(), **options)
        record, image = read_checked(_written(tmp_path / f"{orientation}.jpg", data))
        assert (record.width, record.height) == image.size == (96, 64)
        assert record.sha256 == hashlib.sha256(data).hexdigest()
        hashes.add(image.tobytes())
    assert len(hashes) == 1
    if format != "JPEG":
        assert hashes == {upright.tobytes()}


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0" + b"\7" * 99]
)
def test_unreadable_exif_counts_as_upright(tmp_path, exif):
    image = noise()
    assert read(tmp_path, encode(image, exif=exif)).tobytes() == image.tobytes()


def profile(swap: bool = False) -> bytes:
    """Returns sRGB, or sRGB with red and green exchanged: a profile with an exact effect."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if not swap:
        return data
    table = data[128:]
    return data[:128] + table.replace(b"rXYZ", b"tmp_", 1).replace(b"gXYZ", b"rXYZ", 1).replace(
        b"tmp_", b"gXYZ", 1
    )


def grey_profile(gamma: int) -> bytes:
    """Returns a minimal ICC profile for one grey channel."""
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, gamma * 256) + b"\0\0"
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 16)
    head = struct.pack(">I4sI4s4s4s", 192, b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + tags + white + curve


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_an_embedded_profile_is_converted_to_srgb(tmp_path, format):
    image = noise(6, 4).resize((96, 64), Image.Resampling.NEAREST)
    options = LOSSLESS.get(format, {"quality": 100, "subsampling": 0})
    plain = np.asarray(read(tmp_path, encode(image, format, **options)), int)
    same = read(tmp_path, encode(image, format, icc_profile=profile(), **options))
    assert np.array_equal(same, plain), "an sRGB profile changes nothing, not even by rounding"
    swapped = read(tmp_path, encode(image, format, icc_profile=profile(swap=True), **options))
    assert np.abs(np.asarray(swapped, int) - plain[:, :, [1, 0, 2]]).max() <= 2


def test_profiles_of_grey_pictures_with_alpha_keep_alpha(tmp_path):
    image = two_tone("LA", (128, 255), (128, 0))
    linear = read(tmp_path, encode(image, icc_profile=grey_profile(gamma=1)))
    assert abs(linear.getpixel((0, 0))[0] - 188) <= 1, "linear 128/255 is 188 in sRGB"
    assert linear.getpixel((31, 0)) == WHITE


@pytest.mark.parametrize("icc", [b"junk" * 50, grey_profile(1), profile()[:200]])
def test_an_invalid_or_foreign_profile_is_ignored(tmp_path, icc):
    image = noise()
    assert read(tmp_path, encode(image, icc_profile=icc)).tobytes() == image.tobytes()


def test_of_several_frames_the_first_counts(tmp_path):
    first, second = noise(seed=1), noise(seed=2)
    frames = {"save_all": True, "append_images": [second]}
    assert read(tmp_path, encode(first, "PNG", **frames)).tobytes() == first.tobytes()
    webp = encode(first, "WEBP", **frames, **LOSSLESS["WEBP"])
    assert read(tmp_path, webp).tobytes() == first.tobytes()
    mpo = read(tmp_path, encode(first, "MPO", **frames))
    assert mpo.tobytes() == read(tmp_path, encode(first, "JPEG")).tobytes()
    assert read(tmp_path, encode(first, "JPEG") + b"a video").size == first.size
