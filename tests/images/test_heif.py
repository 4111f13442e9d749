"""HEIC, as telephones write it: turned by its container, several images in a file, tiles, profiles, damage, bombs."""

import io
import struct
from contextlib import suppress

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from cilf.images.decode import DecodeError, read

PLENTY = 10_000_000


def heic(*images: Image.Image, **options) -> bytes:
    """The first of the images is the primary one."""
    file, held = io.BytesIO(), pillow_heif.HeifFile()
    for image in images:
        held.add_from_pillow(image)
    held.save(file, **{"quality": 90, "primary_index": 0, **options})
    return file.getvalue()


def halves(width: int = 96, height: int = 64, left: str = "red", right: str = "blue") -> Image.Image:
    image = Image.new("RGB", (width, height), left)
    image.paste(right, (width // 2, 0, width, height))
    return image


def near(pixel, colour) -> bool:
    return bool((np.abs(pixel.astype(int) - colour) < 40).all())


def test_pixels_are_those_of_the_picture():
    found = read(heic(halves()), 1, PLENTY)
    assert (found.width, found.height, found.stored.shape) == (96, 64, (64, 96, 3))
    assert near(found.upright[30, 10], (255, 0, 0))
    assert near(found.upright[30, 80], (0, 0, 255))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_container_turns_it_once(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    jpeg = io.BytesIO()
    halves().save(jpeg, "JPEG", exif=exif.tobytes(), quality=95, subsampling=0)
    expected = read(jpeg.getvalue(), 64, PLENTY)
    found = read(heic(halves(), exif=exif.tobytes()), 64, PLENTY)
    assert (found.width, found.height) == (expected.width, expected.height)
    assert np.abs(found.upright.astype(int) - expected.upright).mean() < 10


def test_of_several_images_the_primary_one_counts():
    images = [halves(left="red"), halves(200, 100, "lime", "lime"), halves(50, 50, "white", "white")]
    assert read(heic(*images, primary_index=0), 1, PLENTY).width == 96
    second = read(heic(*images, primary_index=1), 1, PLENTY)
    assert second.width == 200
    assert near(second.upright[50, 50], (0, 255, 0))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_greys_and_transparency(mode):
    image = halves(left="black", right="black").convert(mode)
    if mode != "L":
        image.putalpha(0)
    found = read(heic(image), 1, PLENTY)
    assert near(found.upright[30, 30], (0, 0, 0) if mode == "L" else (255, 255, 255))


def test_ten_bits_become_eight():
    deep = np.zeros((64, 96, 3), np.uint16)
    deep[:, :48] = (65535, 0, 0)
    held = pillow_heif.from_bytes("RGB;16", (96, 64), deep.tobytes())
    file = io.BytesIO()
    held.save(file, quality=90)
    found = read(file.getvalue(), 1, PLENTY)
    assert near(found.upright[30, 10], (255, 0, 0))
    assert near(found.upright[30, 90], (0, 0, 0))


def test_colours_of_another_profile_become_srgb():
    image = Image.new("RGB", (64, 64), (200, 90, 60))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert near(read(heic(image, icc_profile=lab), 1, PLENTY).upright[30, 30], (200, 90, 60))


def test_too_many_pixels_are_refused_by_the_header():
    with pytest.raises(DecodeError, match="96 x 64 pixels, more than the 5000 allowed") as caught:
        read(heic(halves()), 1, 5000)
    assert caught.value.status == "too_large"


def boxes(data: bytes, kind: bytes) -> list[int]:
    """Places of a box's content."""
    return [at + 4 for at in range(len(data)) if data[at : at + 4] == kind]


def test_a_header_that_says_less_than_the_stream_holds_is_no_way_around_the_bound():
    data = bytearray(heic(Image.new("RGB", (1600, 1200), "red")))
    for place in boxes(data, b"ispe"):
        struct.pack_into(">LL", data, place + 4, 64, 64)
    try:
        found = read(bytes(data), 1, 10_000)
    except DecodeError:
        return
    assert found.stored.size <= 3 * 10_000


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9, 0.99])
def test_a_file_that_ends_too_early_is_unreadable(share):
    rng = np.random.default_rng(0)
    data = heic(Image.fromarray(rng.integers(0, 256, (64, 96, 3), np.uint8)))
    with pytest.raises(DecodeError) as caught:
        read(data[: int(len(data) * share)], 1, PLENTY)
    assert caught.value.status == "unreadable"
    assert "\n" not in caught.value.reason


def test_damaged_bytes_give_an_image_or_a_reason():
    rng = np.random.default_rng(0)
    whole = heic(Image.fromarray(rng.integers(0, 256, (64, 96, 3), np.uint8)))
    for _ in range(200):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(0, len(data), 10)] = rng.integers(0, 256, 10)
        with suppress(DecodeError):
            assert read(data.tobytes(), 1, PLENTY).stored.shape[2] == 3
