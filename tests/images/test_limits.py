"""Images that are rejected for their size or memory, and headers that must not mislead the checks."""

import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, features
from test_decode import PLENTY, SIZE, encoded

from cilf.config import LabelOptions
from cilf.images import jpeg, pillow
from cilf.images.decode import DecodeError, decode, read

SIDE = 64
PIXELS = SIDE * SIDE
SHORT, LONG = 3, 4


def tiff(*tags: tuple[int, int, list[int]], strip: bytes = b"") -> bytes:
    """A little-endian TIFF with one directory of tag, type and values; `strip` is at byte 8."""
    places, outside = [], b""
    end = 8 + len(strip) + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        data = struct.pack(f"<{len(values)}{'H' if kind == SHORT else 'L'}", *values)
        if len(data) > 4:
            data, outside = struct.pack("<L", end + len(outside)), outside + data
        places.append(struct.pack("<HHL", tag, kind, len(values)) + data.ljust(4, b"\0"))
    directory = struct.pack("<H", len(tags)) + b"".join(places) + bytes(4)
    return b"II*\0" + struct.pack("<L", 8 + len(strip)) + strip + directory + outside


def refusal(data: bytes, max_pixels: int = PLENTY) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(data, SIZE, max_pixels)
    return caught.value


@pytest.mark.parametrize(
    ("kind", "mode", "options", "bytes_per_pixel"),
    [
        ("PNG", "RGB", {}, 7),
        ("PNG", "RGBA", {}, 7),
        ("WEBP", "RGB", {"lossless": True}, 16),
        ("AVIF", "RGB", {}, 16),
        ("JPEG2000", "RGB", {}, 22),
        ("JPEG", "RGB", {"progressive": True, "subsampling": "4:4:4"}, 9),
        ("JPEG", "CMYK", {"progressive": True}, 12),
        ("JPEG", "CMYK", {}, 7),
        ("TIFF", "F", {}, 7),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}, 7),
        ("TIFF", "CMYK", {"compression": "tiff_lzw"}, 8),
    ],
)
def test_memory_is_bounded_by_the_header(kind, mode, options, bytes_per_pixel):
    """The limit is the memory of an RGB image with the allowed number of pixels: 7 bytes each."""
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = encoded(Image.new(mode, (SIDE, SIDE)), kind, **options)
    enough = -(-bytes_per_pixel * PIXELS // 7)
    assert decode(data, SIZE, enough).width == SIDE
    error = refusal(data, enough - 1)
    assert error.status == "too_large"
    assert f"{SIDE} x {SIDE} pixels" in error.reason
    assert "allowed" in error.reason


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "TIFF"])
def test_photographs_of_50_megapixels_pass(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = encoded(Image.new("RGB", (SIDE, SIDE)), kind)
    assert decode(data, SIZE, PIXELS * LabelOptions.max_pixels // 50_000_000).width == SIDE


def test_floats_take_little_memory(tmp_path):
    """84 megapixels in a separate process, to measure its peak memory."""
    width, rows, strips = 12_000, 500, 14
    strip = zlib.compress(np.linspace(-9, 9, width * rows, dtype=np.float32).tobytes(), 1)
    file = tmp_path / "floats.tif"
    file.write_bytes(
        tiff(
            (256, LONG, [width]),
            (257, LONG, [rows * strips]),
            (258, SHORT, [32]),
            (259, SHORT, [8]),
            (262, SHORT, [1]),
            (273, LONG, [8] * strips),
            (277, SHORT, [1]),
            (278, LONG, [rows]),
            (279, LONG, [len(strip)] * strips),
            (339, SHORT, [3]),
            strip=strip,
        )
    )
    code = f"""
from pathlib import Path
from cilf.images.decode import decode
crop = decode(Path({str(file)!r}).read_bytes(), 144, {LabelOptions.max_pixels}).crop
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(peak.split()[1], crop.mean())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert int(said[0]) < 800_000, "kilobytes"
    assert 120 < float(said[1]) < 135


def test_parts_of_a_very_wide_image_are_put_together():
    row = np.arange(2_300_000) % 251
    data = encoded(Image.fromarray(row.astype(np.uint8)[None]), "PNG")
    assert (read(data, 1, PLENTY).stored == row[None, :, None]).all()


def tiled(*tags: tuple[int, int, list[int]], compression: int = 8) -> bytes:
    plain = [(256, [SIDE]), (257, [SIDE]), (258, [8]), (259, [compression]), (262, [1]), (277, [1])]
    tile = zlib.compress(bytes(PIXELS))
    return tiff(
        *((tag, SHORT, values) for tag, values in plain),
        *tags,
        (324, LONG, [8]),
        (325, LONG, [len(tile)]),
        strip=tile,
    )


def test_tiles_are_bounded():
    """libtiff decompresses a whole tile, however little of it is in the image."""
    assert decode(tiled((322, LONG, [SIDE]), (323, LONG, [SIDE])), SIZE, PLENTY).width == SIDE
    error = refusal(tiled((322, LONG, [46_336]), (323, LONG, [46_336])))
    assert error.status == "too_large"
    assert "allowed" in error.reason


@pytest.mark.parametrize(
    "tags",
    [
        [(322, LONG, [SIDE]), (322, LONG, [46_336]), (323, LONG, [SIDE])],
        [(322, 13, [46_336]), (322, LONG, [SIDE]), (323, LONG, [SIDE])],
        [(322, 9, [46_336]), (323, LONG, [SIDE])],
    ],
)
def test_tags_that_can_be_read_in_two_ways_are_not_trusted(tags):
    error = refusal(tiled(*tags))
    assert error.status == "unreadable"
    assert "two ways" in error.reason


def test_icons_are_bounded_exactly():
    """Pillow decodes the image inside an icon when it opens the icon, and raises only above twice its own limit."""
    png = encoded(Image.new("RGB", (SIDE, SIDE)), "PNG")
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(png), 22) + png
    assert decode(icon, SIZE, PIXELS).width == SIDE
    assert f"{SIDE} x {SIDE} pixels" in refusal(icon, PIXELS - 1).reason


FAKE = b"\xff\xc0\0\x11\x08\0\x40\0\x40\x03" + bytes([1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1]) + b"\xff\xda\0\x0c\x03"
"""A frame of 64 x 64 and the start of a scan."""


@pytest.mark.parametrize("marker", [b"\xff", b"\xff\x01", b"\xff\xd0", b"\xff\xd7", b"\xff\0"])
def test_jpegs_are_bounded_by_the_frame_that_is_decoded(marker):
    """A parser that reads a length after a marker without one is led into a comment that contains another frame."""
    real = encoded(Image.new("RGB", (500, 400)), "JPEG")
    before = real[:2] + marker + b"\xff\xec\0\x10" + bytes(14)
    wrong_length = int.from_bytes((before + bytes(2))[4:6], "big")
    comment = bytes(4 + wrong_length - len(before) - 4) + FAKE
    data = before + b"\xff\xfe" + struct.pack(">H", 2 + len(comment)) + comment + real[2:]
    assert data[4 + wrong_length :].startswith(FAKE)
    assert jpeg.read_header(data) is None
    error = refusal(data, PIXELS)
    # Pillow otherwise parses like libjpeg, but does not know 0xFF01.
    assert error.status == ("unreadable" if marker == b"\xff\x01" else "too_large")


def test_another_size_than_libjpegs_is_not_decoded():
    data = encoded(Image.new("RGB", (500, 400)), "JPEG")
    header = jpeg.read_header(data)
    assert header is not None
    assert jpeg.read_pixels(data, header, 100) is not None
    assert jpeg.read_pixels(data, header._replace(width=64, height=64), 100) is None


@pytest.mark.parametrize("factors", [0x13, 0x32, 0x44])
def test_sampling_factors_without_a_name_are_left_to_pillow(factors):
    """simplejpeg looks up their name, and its KeyError must not end the task."""
    data = encoded(Image.new("RGB", (500, 400)), "JPEG", subsampling="4:4:4")
    frame = data.index(b"\xff\xc0")
    data = data[: frame + 11] + bytes([factors]) + data[frame + 12 :]
    header = jpeg.read_header(data)
    assert header is not None
    assert jpeg.read_pixels(data, header, 1) is None


def test_orientation_does_not_depend_on_pillows_limit(monkeypatch):
    """Pillow's limit is per process, and here below the requested limit until Pillow has read an image."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (500, 400)), "JPEG", exif=exif)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode(data, SIZE, PLENTY).width == 400


def test_pillows_limit_is_not_changed(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)
    data = encoded(Image.new("RGB", (20, 20)), "PNG")
    decode(data, SIZE, 1_000)
    with pytest.raises(DecodeError):
        decode(data, SIZE, 100)
    assert Image.MAX_IMAGE_PIXELS == 5_000


@pytest.mark.parametrize("theirs", [1_000, None])
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "JPEG2000", "TIFF"])
def test_pillows_limit_does_not_matter(monkeypatch, kind, theirs):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", theirs)
    picture = Image.linear_gradient("L")
    assert (read(encoded(picture, kind), 1, PLENTY).stored[..., 0] == np.asarray(picture)).all()
    assert f"more than the {256 * 256 - 1} allowed" in refusal(encoded(picture, kind), 256 * 256 - 1).reason


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1", "P", "CMYK", "LAB", "I;16", "F"])
@pytest.mark.parametrize("packed", [{}, {"compression": "tiff_lzw"}])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.filterwarnings("error")
def test_pillows_limit_does_not_matter_for_tiffs(monkeypatch, mode, packed, orientation):
    picture = Image.linear_gradient("L").resize((80, 60))
    picture = picture.convert("RGB").convert(mode) if mode in ("CMYK", "LAB") else picture.convert(mode)
    pages = {"save_all": True, "append_images": [picture.resize((90, 70))] * 2}
    data = encoded(picture, "TIFF", tiffinfo={274: orientation}, **packed, **pages)
    expected = read(data, 1, PLENTY).stored
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    assert (read(data, 1, PLENTY).stored == expected).all()


def test_the_reason_names_pillows_limit_if_it_decides(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    found = refusal(encoded(Image.new("RGB", (SIDE, SIDE)), "WEBP"))
    assert found.status == "too_large"
    assert found.reason == f"{PIXELS} pixels, more than PIL.Image.MAX_IMAGE_PIXELS of this process allows"


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"exif": b"Exif\0\0MM\0*"}])
def test_webps_are_bounded_before_pillow_takes_memory_for_them(monkeypatch, options):
    data = encoded(Image.new("RGB", (SIDE, SIDE)), "WEBP", **options)
    assert pillow.size_within(data) == (SIDE, SIDE)
    monkeypatch.setattr(pillow, "opened", None)
    assert f"{SIDE} x {SIDE} pixels" in refusal(data, PIXELS - 1).reason


IMPORTED = """
import warnings, cv2
from PIL import Image, PngImagePlugin
cv2.setNumThreads(3)
before = cv2.getNumThreads(), list(warnings.filters), Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
import io, numpy
from cilf.images.faces import find
from cilf.card import Images
file = io.BytesIO()
Image.new("RGB", (60, 40)).save(file, "PNG", icc_profile=bytes(3 * 2**20))
assert find(file.getvalue(), Images(size=32), 10_000).width == 60
assert before == (cv2.getNumThreads(), list(warnings.filters), Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK)
"""


def test_importing_cilf_changes_no_settings():
    subprocess.run([sys.executable, "-c", IMPORTED], check=True)


def test_threads_see_the_limit_that_they_have_set():
    """Pillow's limit stays as set while other threads decode."""
    data = encoded(Image.new("RGB", (300, 200)), "PNG")
    before = Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(4) as pool:
        decoding = [pool.submit(read, data, 1, 60_000 + number) for number in range(200)]
        seen = {before}
        while not all(future.done() for future in decoding):
            seen.add(Image.MAX_IMAGE_PIXELS)
    assert seen == {before}
    assert before == Image.MAX_IMAGE_PIXELS
