"""The fast JPEG decoder agrees with Pillow on everything that resembles a photograph."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms
from skimage import data

from cilf.images.decode import decode
from cilf.images.squeeze import squeeze

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
_SRGB = ImageCms.createProfile("sRGB")
MOST = 1.5  # mean absolute difference, levels of 255


def pillow(encoded: bytes, size: int) -> np.ndarray:
    """Pillow's result for an upright file: int [size, size, 3]."""
    with Image.open(io.BytesIO(encoded)) as image:
        image.draft("RGB", (2 * size, 2 * size))
        small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    if "icc_profile" in image.info:
        with suppress(ImageCms.PyCMSError):  # a profile that cannot be read
            ImageCms.profileToProfile(small, io.BytesIO(image.info["icc_profile"]), _SRGB, inPlace=True)
    return np.asarray(small).astype(int)


def difference(encoded: bytes, size: int) -> float:
    return float(np.abs(decode(encoded, size, 10**9).crop - pillow(encoded, size)).mean())


@pytest.fixture(scope="module")
def portrait() -> Callable[..., bytes]:
    """A part of a real portrait as a JPEG."""
    whole = Image.fromarray(data.astronaut())

    def encode(width: int, height: int, mode: str = "RGB", **options: object) -> bytes:
        image = whole.crop((110, 0, 310, 200)).resize((width, height), Image.Resampling.LANCZOS).convert(mode)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", **options)
        return buffer.getvalue()

    return encode


@pytest.mark.parametrize("size", [64, 128, 160, 224])
@pytest.mark.parametrize(
    ("width", "height"),
    [(200, 200), (128, 128), (129, 131), (61, 97), (255, 257), (400, 301), (511, 513), (1600, 1200), (40, 1000)],
)
def test_shapes(portrait, width, height, size):
    assert difference(portrait(width, height, quality=90), size) <= MOST


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "L"},
        {"mode": "CMYK"},
        {"progressive": True},
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:2"},
        {"quality": 10},
        {"restart_marker_blocks": 1},
        {"keep_rgb": True},
        {"optimize": True, "icc_profile": b"x" * 200_000, "comment": b"y" * 60_000},
    ],
    ids=str,
)
def test_kinds(portrait, options):
    assert difference(portrait(300, 260, **options), 128) <= MOST


@pytest.mark.parametrize(
    "name", ["utkface/utkface-00-of-08.parquet", "fgnet/fgnet-00-of-04.parquet", "photos/photos.parquet"]
)
@pytest.mark.parametrize("size", [128, 160])
@pytest.mark.shared_data
def test_real_photographs(name, size):
    if not (SHARED / name).exists():
        pytest.skip(f"no {name} in ../shared/data")
    images = pq.read_table(SHARED / name, columns=["image"])["image"].to_pylist()[:100]
    upright = [image for image in images if Image.open(io.BytesIO(image)).getexif().get(0x0112, 1) == 1]
    assert len(upright) > 10
    differences = [difference(image, size) for image in upright]
    assert np.mean(differences) <= MOST / 2
    assert max(differences) <= MOST


@pytest.mark.parametrize("side", [140, 200, 256, 257, 300, 500, 511, 1000, 1999])
def test_a_downscale_does_not_alias(side):
    """White noise contains all patterns; an area average removes those that plain sampling would leave as aliases."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    averaged = cv2.resize(noise, (128, 128), interpolation=cv2.INTER_AREA).std()
    sampled = cv2.resize(noise, (128, 128), interpolation=cv2.INTER_NEAREST).std()
    assert squeeze(noise, 128).std() <= 1.02 * averaged
    assert averaged < sampled


@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000), (10_000, 1), (3, 2), (5, 700), (65_500, 8)])
def test_any_shape_becomes_a_square(shape):
    image = np.full((*shape, 3), 77, np.uint8)
    assert (squeeze(image, 32) == np.full((32, 32, 3), 77)).all()


def test_nothing_moves():
    """A bright spot has the same relative position in the image and in the square, whatever the size of both."""
    for height, width in ((90, 130), (200, 200), (257, 511), (640, 64), (1001, 750)):
        down, across = np.mgrid[0.5 / height : 1 : 1 / height, 0.5 / width : 1 : 1 / width][:, :height, :width]
        light = np.exp(-(((down - 0.3) / 0.1) ** 2) - ((across - 0.6) / 0.1) ** 2)
        square = squeeze((255 * light[..., None].repeat(3, 2)).astype(np.uint8), 64)[..., 0].astype(float)
        centre = (np.arange(64) + 0.5) / 64
        assert (square.sum(1) @ centre) / square.sum() == pytest.approx(0.3, abs=0.002)
        assert (square.sum(0) @ centre) / square.sum() == pytest.approx(0.6, abs=0.002)
