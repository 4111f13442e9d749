"""Decoding returns an image or a reason, in a short time, for any damage to a file's bytes."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hostile_files import MAX_PIXELS, expected_status, hostile_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cilf.images.decode import Decoded, DecodeError, decode

SIZE = 16

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pytest undoes decode.py's filter of PIL's
LONGEST_S = 5  # of CPU time, where an undamaged file takes milliseconds

KINDS = ("jpeg/baseline.", "jpeg/progressive.", "jpeg/cmyk.", "jpeg/restart markers.", "jpeg/exif orientation 6.",
         "png/rgb of 8 bits interlaced.", "png/palette with alpha.", "png/grey of 16 bits.", "webp/lossy.",
         "webp/lossless with alpha.", "webp/animated.", "gif/animated.", "bmp/palette.", "tif/tiff_lzw.", "tif/tiled.",
         "tif/floats.", "tif/jpeg.", "avif/plain.", "ico/of png.", "jp2/plain.", "ppm/plain.")  # fmt: skip


def whole(kind: str) -> bytes:
    return next((data for name, data in hostile_files().items() if name.startswith(f"ok/{kind}")), b"")


def survive(data: bytes) -> None:
    start = time.process_time()
    try:
        outcome: Decoded | DecodeError = decode(data, SIZE, MAX_PIXELS)
    except DecodeError as error:
        outcome = error
    assert time.process_time() - start < LONGEST_S
    if isinstance(outcome, Decoded):
        assert outcome.crop.shape == (SIZE, SIZE, 3)
        assert outcome.crop.dtype == np.uint8
        assert 0 < outcome.width * outcome.height <= MAX_PIXELS
    else:
        assert outcome.status in ("unreadable", "too_large")
        assert outcome.reason.strip()


damage = st.lists(
    st.tuples(
        st.sampled_from(("flip", "set", "cut", "drop", "repeat")),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=8,
)


def damaged(data: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    """`where` is a position as a share of the file, squared so that headers, which are short, are hit often."""
    for what, where, value in changes:
        at = int(where**2 * len(data))
        match what:
            case "flip":
                data = data[:at] + bytes([data[at] ^ (1 << value % 8)]) + data[at + 1 :]
            case "set":
                data = data[:at] + bytes([value]) + data[at + 1 :]
            case "cut":
                data = data[: max(at, 1)]
            case "drop":
                data = data[:at] + data[at + value % 16 :]
            case "repeat":
                data = data[:at] + data[at : at + value] + data[at:]
        data = data or b"\0"
    return data


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=damage)
def test_damage_gives_an_image_or_a_reason(kind, changes):
    data = whole(kind)
    if not data:
        pytest.skip("this Pillow cannot write it")
    survive(damaged(data, changes))


@settings(max_examples=200, deadline=None)
@given(start=st.sampled_from(sorted({data[:16] for data in hostile_files().values()})), rest=st.binary(max_size=400))
def test_noise_after_any_start(start, rest):
    survive(start + rest)


def test_a_jpeg_cut_anywhere_is_no_image():
    data = whole("jpeg/baseline.")
    assert expected_status("ok/jpeg") == "ok"
    for end in range(len(data)):
        with pytest.raises(DecodeError) as caught:
            decode(data[:end], SIZE, MAX_PIXELS)
        assert caught.value.status == "unreadable"
