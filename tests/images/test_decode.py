import io
import struct
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, features

from cilf.images.decode import DecodeError, decode, read

SIZE = 32
PLENTY = 10**8


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def picture() -> Image.Image:
    """A coloured picture that is bright at the top left and dark at the bottom right."""
    down, right = np.mgrid[1:0:120j, 1:0:180j]
    return Image.fromarray((np.stack([down * right, down, right], axis=-1) * 255).astype(np.uint8))


def assert_alike(crop: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert crop.shape == (SIZE, SIZE, 3)
    assert crop.dtype == np.uint8
    assert np.abs(crop.astype(int) - expected.astype(int)).mean() <= tolerance


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("PNG", 0.5), ("BMP", 0.5), ("TIFF", 0.5), ("JPEG", 3), ("WEBP", 4), ("GIF", 6), ("AVIF", 4)],
)
def test_formats_agree(picture, kind, tolerance):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    decoded = decode(encoded(picture, kind), SIZE, PLENTY)
    expected = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR, reducing_gap=2.0))
    assert (decoded.width, decoded.height) == (180, 120)
    assert_alike(decoded.crop, expected, tolerance)


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "LA", "YCbCr", "1"])
def test_modes_look_the_same(picture, mode):
    image = picture.quantize(128) if mode == "P" else picture.convert(mode)
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    reference = picture.convert("L").convert("RGB") if mode in ("L", "LA", "1") else picture
    expected = np.asarray(reference.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    assert_alike(decode(encoded(image, kind), SIZE, PLENTY).crop, expected, 16 if mode == "1" else 6)


STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> the transformation from an upright picture to the stored one."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_applied(picture, orientation, kind):
    turn = STORED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture if turn is None else picture.transpose(turn), kind, exif=exif)
    assert ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size == picture.size
    decoded = decode(data, SIZE, PLENTY)
    assert (decoded.width, decoded.height) == picture.size
    assert_alike(decoded.crop, decode(encoded(picture, "PNG"), SIZE, PLENTY).crop, 4)


def test_broken_exif_is_ignored(picture):
    data = encoded(picture, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    assert decode(data, SIZE, PLENTY).width == 180


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 100 * 100).reshape(100, 100).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        crop = decode(encoded(Image.fromarray(ramp), kind), SIZE, PLENTY).crop
        assert crop.min() < 5
        assert crop.max() > 250
        assert 120 < crop.mean() < 135


@pytest.mark.parametrize("kind", [".png", ".tiff", ".jp2", ".ppm"])
def test_white_of_16_bits_is_white(kind):
    levels = np.array([[0, 65535], [65400, 30000]], np.uint16).repeat(40, axis=0).repeat(40, axis=1)
    picture = np.dstack([levels, levels[::-1], levels[:, ::-1]])
    encoded = cv2.imencode(kind, picture[..., ::-1])[1].tobytes()
    assert np.abs(read(encoded, 1, PLENTY).stored - (picture / 257)).max() < 1.01


def grey_tiff(
    values: np.ndarray, bits: int, photometric: int, *, packed: bytes | None = None, samples: int = 1
) -> bytes:
    """A little-endian, uncompressed TIFF; the second of two samples is an associated alpha."""
    pixels = values.tobytes() if packed is None else packed
    tags = {256: values.shape[1], 257: values.shape[0], 258: bits, 259: 1, 262: photometric, 273: 8, 277: samples}
    tags |= {278: values.shape[0], 279: len(pixels)} | ({338: 1} if samples == 2 else {})
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack("<II", 0x002A4949, 8 + len(pixels)) + pixels
    return start + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_greys_of_12_bits_are_scaled():
    ramp = np.linspace(0, 4095, 100 * 100).reshape(100, 100).astype(np.uint16)
    first, second = ramp[:, ::2], ramp[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8)
    stored = read(grey_tiff(ramp, 12, 1, packed=packed.tobytes()), 1, PLENTY).stored
    assert (stored == (ramp >> 4)[:, :, None]).all()


def test_a_white_of_zero_is_white():
    ramp = np.linspace(0, 65535, 100 * 100).reshape(100, 100).astype(np.uint16)
    for kind in (np.uint8, np.uint16):
        values = (ramp >> 8).astype(kind) if kind == np.uint8 else ramp
        stored = read(grey_tiff(values, 8 * values.itemsize, 0), 1, PLENTY).stored
        assert (stored == (255 - (ramp >> 8))[:, :, None]).all()


def test_a_white_of_zero_is_white_in_floats():
    image = Image.fromarray(np.linspace(0, 1, 100 * 100, dtype=np.float32).reshape(100, 100))
    plain = read(encoded(image, "TIFF"), 1, PLENTY).stored
    negative = encoded(image, "TIFF").replace(
        struct.pack("<HHIHH", 262, 3, 1, 1, 0), struct.pack("<HHII", 262, 3, 1, 0)
    )
    assert (read(negative, 1, PLENTY).stored == 255 - plain).all()


def test_floats_fill_their_own_range():
    values = np.linspace(-3, 5, 1500 * 1500, dtype=np.float32).reshape(1500, 1500)  # several parts
    values[0, 0], values[700, 3], values[1400, 9] = np.nan, np.inf, -1e35
    stored = read(encoded(Image.fromarray(values), "TIFF"), 1, PLENTY).stored
    values[0, 0] = values[700, 3] = values[1400, 9] = 0
    assert np.abs(stored[:, :, 0] - (values + 3) * (255 / 8)).max() < 1.01


def test_grey_with_associated_alpha_is_read():
    values = np.zeros((10, 10, 2), np.uint8)
    values[5:] = (100, 128)
    stored = read(grey_tiff(values, 8, 1, samples=2), 1, PLENTY).stored
    assert (stored[:5] == 255).all()
    assert np.abs(stored[5:] - (100 + 127.0)).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_large_colour_profiles_do_no_harm(picture, kind):
    assert decode(encoded(picture, kind, icc_profile=bytes(3 * 2**20)), SIZE, PLENTY).width == 180


def test_transparent_parts_are_white():
    crop = decode(encoded(Image.new("RGBA", (50, 50), (200, 0, 0, 0)), "PNG"), SIZE, PLENTY).crop
    assert (crop == 255).all()
    palette = Image.new("P", (50, 50), 3)
    palette.putpalette([0] * 768)
    crop = decode(encoded(palette, "GIF", transparency=3), SIZE, PLENTY).crop
    assert (crop == 255).all()


def test_an_animation_gives_its_first_frame(picture):
    frames = [Image.new("RGB", (50, 50), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(data, SIZE, PLENTY).crop == [255, 0, 0]).all()


def test_threads_do_not_disturb_each_other(picture):
    sizes = [(60 + 10 * number, 300 - 10 * number) for number in range(20)]
    files = [encoded(picture.resize(size), kind) for size in sizes for kind in ("JPEG", "PNG")]
    alone = [decode(data, SIZE, PLENTY).crop for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data, SIZE, PLENTY).crop, files * 5))
    assert all((a == b).all() for a, b in zip(alone * 5, together, strict=True))


def test_large_jpegs_are_decoded_scaled(monkeypatch):
    shapes = []
    monkeypatch.setattr("cilf.images.decode.squeeze", lambda pixels, size: shapes.append(pixels.shape) or pixels)
    for side in (60, 64, 127, 128, 1000):
        decode(encoded(Image.new("RGB", (2 * side, side)), "JPEG"), SIZE, PLENTY)
    assert [shape[0] for shape in shapes] == [60, 64, 127, 64, 125]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_truncated_is_unreadable(picture, kind):
    data = encoded(picture, kind)
    with pytest.raises(DecodeError) as caught:
        decode(data[: len(data) // 2], SIZE, PLENTY)
    assert caught.value.status == "unreadable"


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"<html></html>", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"\0" * 999]
)
def test_data_that_is_no_image_is_unreadable_with_a_one_line_reason(data):
    with pytest.raises(DecodeError) as caught:
        decode(data, SIZE, PLENTY)
    assert caught.value.status == "unreadable"
    assert caught.value.reason.strip()
    assert "\n" not in caught.value.reason
    assert " at 0x" not in caught.value.reason


def test_trailing_bytes_do_no_harm(picture):
    assert decode(encoded(picture, "JPEG") + b"more", SIZE, PLENTY).width == 180


def test_pixels_are_bounded_by_the_header(picture):
    with pytest.raises(DecodeError) as caught:
        decode(encoded(picture, "PNG"), SIZE, max_pixels=180 * 120 - 1)
    assert caught.value.status == "too_large"
    assert "180 x 120" in caught.value.reason


def test_a_decompression_bomb_is_rejected_cheaply():
    bomb = encoded(Image.new("1", (30_000, 30_000)), "PNG")
    with pytest.raises(DecodeError) as caught:
        decode(bomb, SIZE, PLENTY)
    assert caught.value.status == "too_large"
