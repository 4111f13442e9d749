"""At an eighth of their size, JPEGs have libjpeg's pixels, whoever reads them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from cilf.images import eighth, jpeg

pytestmark = pytest.mark.skipif(eighth._eighth is None, reason="_eighth.c could not be compiled here")

LEAST = 17  # pixels: of less, simplejpeg's smallest scale that is large enough is another one
GREY, FULL, HALVED, FLAT = None, "4:4:4", "4:2:0", "4:2:2"


def photograph(width: int, height: int, noise: float, seed: int) -> Image.Image:
    """Smooth colours, with noise of that standard deviation."""
    down, right = np.mgrid[:height, :width]
    smooth = np.stack([down * 255 / height, right * 255 / width, 127 + 127 * np.sin(down / 9 + right / 7)], axis=-1)
    noisy = smooth + np.random.default_rng(seed).normal(0, noise, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, sampling: str | None, **options: object) -> bytes:
    buffer = io.BytesIO()
    if sampling is None:
        image.convert("L").save(buffer, "JPEG", **options)
    else:
        image.save(buffer, "JPEG", subsampling=sampling, **options)
    return buffer.getvalue()


def by_libjpeg(data: bytes) -> np.ndarray | None:
    header = jpeg.read_header(data)
    assert header is not None
    try:
        return simplejpeg.decode_jpeg(data, min_height=-(-header.height // 8), min_width=-(-header.width // 8))
    except (ValueError, KeyError):
        return None


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_blocks": 3}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("sampling", [GREY, FULL, HALVED])
@pytest.mark.parametrize(("quality", "noise"), [(1, 5), (50, 20), (85, 5), (95, 20), (100, 1)])
def test_pixels_are_libjpegs(sampling, options, quality, noise):
    for seed, (width, height) in enumerate([(17, 17), (640, 480), (511, 130), (33, 401), (100, 8 * 31 + 1)]):
        data = encoded(photograph(width, height, noise, seed), sampling, quality=quality, **options)
        pixels = eighth.read_pixels(data)
        assert pixels is not None
        assert pixels.flags.writeable
        np.testing.assert_array_equal(pixels, by_libjpeg(data))


def with_adobe(data: bytes) -> bytes:
    """One that says by Adobe's segment that it has no transformed colours."""
    return data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + data[2:]


def with_marker(data: bytes, kind: int, position: int, value: int) -> bytes:
    """With one byte of the content of the first segment of a kind changed."""
    at = data.index(bytes((0xFF, kind))) + 4 + position
    return data[:at] + bytes([value]) + data[at + 1 :]


PLAIN = encoded(photograph(120, 90, 10, 0), HALVED)


@pytest.mark.parametrize(
    "data",
    [
        encoded(photograph(120, 90, 10, 0), FLAT),
        encoded(photograph(120, 90, 10, 0), HALVED, progressive=True),
        with_adobe(PLAIN),
        with_marker(PLAIN, 0xC0, 7, 0x21),  # sampling of its luma
        with_marker(PLAIN, 0xC0, 8, 3),  # a table of quantizers that is not there
        with_marker(PLAIN, 0xDA, 2, 0x23),  # codes that are not there
        with_marker(PLAIN, 0xDA, 7, 1),  # no first coefficient
        with_marker(PLAIN, 0xC4, 1, 200),  # more codes of one bit than there can be
        PLAIN[:-2],
        PLAIN[:-40] + b"\xff\xd9",
        PLAIN[:-2] + b"\x00\xff\xd9",
        PLAIN[:-40] + b"\xff\xd0" + PLAIN[-38:],
        encoded(photograph(120, 90, 10, 0), HALVED, restart_marker_blocks=5).replace(b"\xff\xd3", b"\xff\xd4"),
    ],
)
def test_what_is_unusual_or_damaged_is_left_to_libjpeg(data):
    assert eighth.read_pixels(data) is None


def test_a_few_bytes_promise_no_memory():
    """Of 65,500 pixels a side, with room for the codes of none."""
    huge = with_marker(with_marker(PLAIN, 0xC0, 1, 0xFF), 0xC0, 3, 0xFF)
    assert eighth.read_pixels(huge) is None


SMALL = [
    encoded(photograph(70, 50, 15, seed), sampling, quality=quality, **options)
    for seed, (sampling, quality, options) in enumerate(
        [(GREY, 90, {}), (FULL, 90, {}), (HALVED, 95, {}), (HALVED, 60, {"restart_marker_blocks": 2}),
         (HALVED, 100, {"optimize": True})]
    )
]  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(
    st.sampled_from(SMALL),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    st.booleans(),
)
def test_damage_gives_what_libjpeg_sees_or_nothing(data, changes, near_the_start):
    """What libjpeg would call damaged is never passed over."""
    damaged = bytearray(data)
    for where, value in changes:
        damaged[int((where**3 if near_the_start else where) * len(data))] = value
    header = jpeg.read_header(bytes(damaged))
    assume(header is not None and min(header.width, header.height) >= LEAST)
    pixels = jpeg.read_pixels(bytes(damaged), header, least=2)
    if pixels is not None:
        np.testing.assert_array_equal(pixels, by_libjpeg(bytes(damaged)))


def test_labels_do_not_depend_on_the_compiler(monkeypatch):
    data = encoded(photograph(2400, 2320, 5, 0), HALVED, quality=85)
    header = jpeg.read_header(data)
    assert header is not None
    compiled = jpeg.read_pixels(data, header, least=288)
    monkeypatch.setattr(eighth, "_eighth", None)
    assert eighth.read_pixels(data) is None
    np.testing.assert_array_equal(compiled, jpeg.read_pixels(data, header, least=288))
