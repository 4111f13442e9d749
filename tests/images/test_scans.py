"""Only the scans of a JPEG are counted, and nothing that looks like one."""

import numpy as np
import pytest
from PIL import Image
from test_decode import encoded

from cilf.images import jpeg
from cilf.images.decode import DecodeError, read

LOOK_LIKE_SCANS = b"\xff\xda" * 60_000
SIDE = 64
FEW_PIXELS = 2 * SIDE * SIDE
"""Pixel limit at which a picture of SIDE may have at most twice jpeg.MAX_SCANS scans."""


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8))


def with_segments(data: bytes, kind: int, payload: bytes) -> bytes:
    parts = [payload[start : start + 60_000] for start in range(0, len(payload), 60_000)]
    return data[:2] + b"".join(bytes([0xFF, kind]) + (len(p) + 2).to_bytes(2, "big") + p for p in parts) + data[2:]


def repeated(progressive: bytes, scans: int) -> bytes:
    """Repeats the last scan `scans` times."""
    last = progressive.rindex(b"\xff\xda")
    return progressive[:last] + progressive[last:-2] * scans + progressive[-2:]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [True, False])
@pytest.mark.parametrize(
    "changed",
    [
        lambda data: data + LOOK_LIKE_SCANS,
        lambda data: data + b"\0\0\0\x18ftypmp42" + LOOK_LIKE_SCANS,
        lambda data: data + 200 * data,
        lambda data: with_segments(data, 0xE1, b"Exif\0\0" + LOOK_LIKE_SCANS),
        lambda data: with_segments(data, 0xFE, LOOK_LIKE_SCANS),
    ],
    ids=["garbage", "a video", "other pictures", "metadata", "comments"],
)
def test_bytes_that_look_like_scans_do_not_count(picture, mode, progressive, changed):
    data = encoded(picture.convert(mode), "JPEG", progressive=progressive)
    expected = read(data, 1, FEW_PIXELS)
    found = read(changed(data), 1, FEW_PIXELS)
    assert (found.stored == expected.stored).all()


def test_pictures_after_a_baseline_one_need_no_memory(picture):
    """A baseline picture needs no coefficients, whatever follows it."""
    plain = encoded(picture.convert("CMYK"), "JPEG")
    assert read(plain + encoded(picture, "JPEG", progressive=True), 1, SIDE * SIDE).width == SIDE


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_too_many_scans_are_rejected(picture, mode):
    data = repeated(encoded(picture.convert(mode), "JPEG", progressive=True), 3 * jpeg.MAX_SCANS)
    assert jpeg.read_header(data) is None
    with pytest.raises(DecodeError, match="more scans than any photograph has"):
        read(data, 1, FEW_PIXELS)


@pytest.mark.parametrize(
    "between", [b"\xff\xfe\0\x04ab", b"\xff\xd3", b"\xff\x01", b"\xff\xff\xff", b"noise", b"\xff\0"], ids=repr
)
def test_scans_are_counted_whatever_is_between_them(picture, between):
    progressive = encoded(picture, "JPEG", progressive=True)
    last = progressive.rindex(b"\xff\xda")
    data = progressive[:last] + (between + progressive[last:-2]) * 200 + progressive[-2:]
    assert jpeg.has_more_scans(data, 200)
    assert not jpeg.has_more_scans(data, 220)
    assert not jpeg.has_more_scans(progressive, 20)


@pytest.mark.parametrize("data", [b"\xff\xd8" + b"\xff\xda\0\0" * 9, b"\xff\xd8" + b"\xff\xda" * 9, b"\xff\xd8\xff"])
def test_counting_ends_on_damage(data):
    jpeg.has_more_scans(data, 2)


def test_large_pictures_followed_by_a_video_are_read():
    data = encoded(Image.new("RGB", (4000, 3000), "red"), "JPEG", progressive=True)
    video = np.random.default_rng(0).integers(0, 256, 20_000_000, np.uint8).tobytes()
    assert video.count(b"\xff\xda") > 2 * jpeg.MAX_SCANS
    assert read(data + video, 400, 4000 * 3000).width == 4000
