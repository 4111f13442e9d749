import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from colour_spaces import ADOBE_RGB, DISPLAY_P3, SRGB, profile_of, shown_in
from PIL import Image
from skimage import data

from cilf.images.decode import read

PLENTY = 10**8
PORTRAIT = data.astronaut()[:256, 96:352]
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_lzw"}}
BEST = {"quality": 100, "subsampling": "4:4:4"}


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(encoded: bytes, least: int = PLENTY) -> np.ndarray:
    return read(encoded, least, PLENTY).upright.astype(int)


@pytest.mark.parametrize("space", [DISPLAY_P3, ADOBE_RGB], ids=["P3", "Adobe"])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_colours_of_other_spaces_become_srgb(space, kind):
    file = encoded(shown_in(space, PORTRAIT), kind, icc_profile=profile_of(space), **LOSSLESS[kind])
    without = encoded(shown_in(space, PORTRAIT), kind, **LOSSLESS[kind])
    assert np.abs(decoded(file) - PORTRAIT).mean() < 0.3
    assert np.abs(decoded(without) - PORTRAIT).mean() > 1.5


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
@pytest.mark.parametrize("times", [1, 2, 8])
def test_profiles_apply_to_jpegs_at_every_scale(options, times):
    large = PORTRAIT.repeat(times, axis=0).repeat(times, axis=1)
    file = encoded(shown_in(ADOBE_RGB, large), "JPEG", icc_profile=profile_of(ADOBE_RGB), **BEST, **options)
    pixels = decoded(file, least=256)
    assert pixels.shape == PORTRAIT.shape
    assert np.abs(pixels - PORTRAIT).mean() < 1.2


def test_a_profile_in_several_parts_is_put_together():
    profile = profile_of(ADOBE_RGB, padding=150_000)
    file = encoded(shown_in(ADOBE_RGB, PORTRAIT), "JPEG", icc_profile=profile, **BEST)
    assert file.count(b"ICC_PROFILE\0") == 3
    assert np.abs(decoded(file) - PORTRAIT).mean() < 1.2


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    "profile",
    [profile_of(SRGB), profile_of(DISPLAY_P3)[:300], b"acsp", bytes(2_000_000), profile_of(DISPLAY_P3, 1_000_000)],
    ids=["sRGB", "torn", "noise", "zeros", "huge"],
)
def test_pixels_stay_unchanged_if_a_profile_has_no_effect(kind, profile):
    assert (decoded(encoded(PORTRAIT, kind, icc_profile=profile)) == decoded(encoded(PORTRAIT, kind))).all()


@pytest.mark.parametrize("damage", [b"", b"name", b"name\0", b"name\0\0nothing that inflates"])
def test_a_damaged_chunk_of_a_png_does_no_harm(damage):
    whole = encoded(PORTRAIT)
    chunk = len(damage).to_bytes(4, "big") + b"iCCP" + damage + bytes(4)
    assert (decoded(whole[:33] + chunk + whole[33:]) == PORTRAIT).all()


@pytest.mark.parametrize("at", range(16))
def test_a_torn_segment_of_a_jpeg_does_no_harm(at):
    whole, content = encoded(PORTRAIT, "JPEG"), b"ICC_PROFILE\0\1\1x"[:at]
    segment = b"\xff\xe2" + (2 + len(content)).to_bytes(2, "big") + content
    assert (decoded(whole[:2] + segment + whole[2:]) == decoded(whole)).all()


def test_transparent_parts_stay_white():
    pixels = np.dstack([shown_in(DISPLAY_P3, PORTRAIT), np.full(PORTRAIT.shape[:2], 255, np.uint8)])
    pixels[:100, :, 3] = 0
    shown = decoded(encoded(pixels, icc_profile=profile_of(DISPLAY_P3)))
    assert (shown[:100] == 255).all()
    assert np.abs(shown[100:] - PORTRAIT[100:]).mean() < 0.3


def test_grey_and_cmyk_images_keep_their_own_conversion():
    for mode in ("L", "CMYK"):
        image = Image.fromarray(PORTRAIT).convert(mode)
        files = []
        for options in ({}, {"icc_profile": profile_of(DISPLAY_P3)}):
            buffer = io.BytesIO()
            image.save(buffer, "TIFF", **options)
            files.append(buffer.getvalue())
        assert (decoded(files[0]) == decoded(files[1])).all()


def test_threads_share_a_profile():
    large = np.tile(shown_in(ADOBE_RGB, PORTRAIT), (4, 2, 1))
    file = encoded(large, "JPEG", icc_profile=profile_of(ADOBE_RGB), quality=90)
    alone = decoded(file)
    with ThreadPoolExecutor(8) as pool:
        assert all((pixels == alone).all() for pixels in pool.map(decoded, [file] * 24))
