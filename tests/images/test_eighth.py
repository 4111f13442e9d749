"""JPEGs at 1/8 scale have the same pixels with and without _eighth."""

from __future__ import annotations

import io
import shutil
import sysconfig
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from cilf.images import eighth, jpeg

COMPILER = shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").exists()
"""Whether _eighth can be compiled here; if so, a build without it is a failure."""

pytestmark = pytest.mark.skipif(eighth._eighth is None and not COMPILER, reason="_eighth.c cannot be compiled here")

LEAST = 17  # pixels a side: simplejpeg finds smaller scales than an eighth large enough for ⌈side / 8⌉ of less
GREY, FULL, HALVED, FLAT = None, "4:4:4", "4:2:0", "4:2:2"


def photograph(width: int, height: int, noise: float, seed: int) -> Image.Image:
    """An image of smooth colours with noise of standard deviation `noise`."""
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
    """Adds an Adobe segment that declares untransformed colours."""
    return data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + data[2:]


def with_marker(data: bytes, kind: int, position: int, value: int) -> bytes:
    """Changes one byte in the content of the first segment of a kind."""
    at = data.index(bytes((0xFF, kind))) + 4 + position
    return data[:at] + bytes([value]) + data[at + 1 :]


PLAIN = encoded(photograph(120, 90, 10, 0), HALVED)
SCAN = PLAIN.index(b"\xff\xda")
RESTARTED = encoded(photograph(120, 90, 10, 0), HALVED, restart_marker_blocks=5)


def content(data: bytes, kind: int, change: Callable[[bytes], bytes]) -> bytes:
    """Changes the content of the first segment of a kind, and adjusts its length."""
    start = data.index(bytes((0xFF, kind))) + 4
    end = start - 2 + int.from_bytes(data[start - 2 : start])
    changed = change(data[start:end])
    return data[: start - 2] + (2 + len(changed)).to_bytes(2) + changed + data[end:]


def codes_of_other_lengths(data: bytes, changes: dict[int, int]) -> bytes:
    """Changes the number of codes of some lengths in the first code table, [1:17] of its segment."""
    return content(
        data, 0xC4, lambda table: bytes(count + changes.get(at, 0) for at, count in enumerate(table[:17])) + table[17:]
    )


def named(data: bytes, names: bytes) -> bytes:
    """Renames the three components."""
    for kind, positions in ((0xC0, (6, 9, 12)), (0xDA, (1, 3, 5))):
        for position, name in zip(positions, names, strict=True):
            data = with_marker(data, kind, position, name)
    return data


def quantizers_of_16_bits(data: bytes) -> bytes:
    """Makes the first table 16-bit and appends another table, so that a parser could mistake it for 8-bit tables."""
    return content(
        data, 0xDB, lambda table: b"\x10" + b"".join(bytes((0, each)) for each in table[1:]) + b"\x01" + table[1:]
    )


def test_unchanged_files_are_read():
    """This ensures that the files below are rejected because of their changes."""
    assert eighth.read_pixels(PLAIN) is not None
    assert eighth.read_pixels(RESTARTED) is not None
    assert eighth.read_pixels(named(PLAIN, b"YUV")) is not None


@pytest.mark.parametrize(
    "data",
    [
        encoded(photograph(120, 90, 10, 0), FLAT),
        encoded(photograph(120, 90, 10, 0), HALVED, progressive=True),
        with_adobe(PLAIN),
        with_marker(PLAIN, 0xC0, 7, 0x21),  # luma sampling
        with_marker(PLAIN, 0xC0, 8, 3),  # missing quantizer table
        with_marker(PLAIN, 0xDA, 2, 0x23),  # missing code table
        with_marker(PLAIN, 0xDA, 7, 1),  # no first coefficient
        with_marker(PLAIN, 0xC4, 1, 200),  # more codes than there are symbols for
        codes_of_other_lengths(PLAIN, {2: 3, 9: -1, 8: -1, 7: -1}),  # more two-bit codes than possible
        codes_of_other_lengths(PLAIN, {8: 1, 9: -1}),  # a code of only ones
        content(PLAIN, 0xC4, lambda tables: tables * 150),
        quantizers_of_16_bits(PLAIN),
        named(PLAIN, b"RGB"),
        content(RESTARTED, 0xDD, lambda interval: b"\0" + interval),
        PLAIN[:SCAN] + b"\xff\xda\0\x0d" + PLAIN[SCAN + 4 : SCAN + 14],  # ends within the scan's header
        PLAIN[:-2],
        PLAIN[:-40] + b"\xff\xd9",
        PLAIN[:-2] + b"\x00\xff\xd9",
        PLAIN[:-40] + b"\xff\xd0" + PLAIN[-38:],
        RESTARTED.replace(b"\xff\xd3", b"\xff\xd4"),
    ],
)
def test_unusual_or_damaged_files_are_left_to_libjpeg(data):
    assert eighth.read_pixels(data) is None


def test_a_short_file_that_claims_many_pixels_allocates_no_memory():
    """The header claims 65,500 pixels a side, but the file is too short for their codes."""
    huge = with_marker(with_marker(PLAIN, 0xC0, 1, 0xFF), 0xC0, 3, 0xFF)
    tracemalloc.start()
    try:
        assert eighth.read_pixels(huge) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


SMALL = [
    encoded(photograph(70, 50, 15, seed), sampling, quality=quality, **options)
    for seed, (sampling, quality, options) in enumerate(
        [(GREY, 90, {}), (FULL, 90, {}), (HALVED, 95, {}), (HALVED, 60, {"restart_marker_blocks": 2}),
         (HALVED, 100, {"optimize": True})]
    )
]  # fmt: skip


def places_of_tables(data: bytes) -> list[int]:
    """Offsets of all bytes of the code and quantizer tables, without the first table number of each segment."""
    places, at = [], 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] in (0xC4, 0xDB):
            places += range(at + 5, at + 2 + length)
        at += 2 + length
    return places


@pytest.mark.parametrize("where", ["anywhere", "header", "tables"])
def test_damage_gives_what_libjpeg_sees_or_nothing(where):
    """Damage that libjpeg would detect is never ignored."""
    who = Counter()
    anything = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255))

    @settings(max_examples=600, deadline=None)
    @given(st.sampled_from(SMALL), st.lists(anything, min_size=1, max_size=4))
    def damage(data, changes):
        places = {
            "anywhere": range(len(data)),
            "header": range(data.index(b"\xff\xda") + 14),
            "tables": places_of_tables(data),
        }[where]
        damaged = bytearray(data)
        for place, value in changes:
            damaged[places[int(place * len(places))]] = value
        damaged = bytes(damaged)
        header = jpeg.read_header(damaged)
        assume(header is not None and min(header.width, header.height) >= LEAST)
        pixels = jpeg.read_pixels(damaged, header, least=2)
        who["eighth" if pixels is not None and eighth.read_pixels(damaged) is not None else "libjpeg or none"] += 1
        if pixels is not None:
            np.testing.assert_array_equal(pixels, by_libjpeg(damaged))

    damage()
    assert min(who["eighth"], who["libjpeg or none"]) > 60, who


def test_labels_do_not_depend_on_the_compiler(monkeypatch):
    data = encoded(photograph(2400, 2320, 5, 0), HALVED, quality=85)
    header = jpeg.read_header(data)
    assert header is not None
    compiled = jpeg.read_pixels(data, header, least=288)
    monkeypatch.setattr(eighth, "_eighth", None)
    assert eighth.read_pixels(data) is None
    np.testing.assert_array_equal(compiled, jpeg.read_pixels(data, header, least=288))
