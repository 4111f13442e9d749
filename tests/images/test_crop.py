import math

import cv2
import numpy as np
import pytest

from cilf.images.crop import Square, cut
from cilf.images.squeeze import squeeze


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """An image of smooth colours, in which a shift of a tenth of a pixel is visible."""
    rows, columns = np.mgrid[:300, :400]
    waves = [np.sin(rows / 23) + np.cos(columns / 31), np.sin(columns / 17), np.cos(rows / 19 + columns / 41)]
    return np.stack([128 + 60 * wave for wave in waves], axis=-1).clip(0, 255).astype(np.uint8)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


def test_an_upright_square_equals_a_slice(image):
    found = cut(image, Square(x=150, y=120, side=100), 100)
    assert difference(found, image[70:170, 100:200]) < 1
    smaller = cut(image, Square(x=150, y=120, side=100), 50)
    assert difference(smaller, squeeze(image[70:170, 100:200], 50)) < 1


@pytest.mark.parametrize("side", [60, 100, 150, 290])
def test_every_size_shows_the_same(image, side):
    """Cutting a scaled square out of the scaled image gives the same crop."""
    larger = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_LINEAR)
    one = Square(x=200, y=150, side=side, radians=0.3)
    assert difference(cut(larger, one.scaled(3), 40), cut(image, one, 40)) < 1.5


def test_a_turned_square_is_upright_again(image):
    degrees = 30
    around = (200.0, 150.0)
    turned = cv2.warpAffine(image, cv2.getRotationMatrix2D(around, -degrees, 1), (400, 300))
    # Pixel centres are at whole numbers in OpenCV, and half a pixel further here.
    straight = cut(image, Square(200.5, 150.5, 80), 80)
    again = cut(turned, Square(200.5, 150.5, 80, math.radians(degrees)), 80)
    assert difference(again, straight) < 1.5
    assert difference(cut(turned, Square(200.5, 150.5, 80), 80), straight) > 5


def test_beyond_the_edge_are_the_edges_colours(image):
    found = cut(image, Square(x=0, y=150, side=100), 100)
    assert difference(found[:, 50:], image[100:200, :50]) < 1
    assert difference(found[:, :50], np.repeat(image[100:200, :1], 50, axis=1)) < 1
    far = cut(image, Square(x=-1000, y=-1000, side=900), 50)
    assert (far == image[0, 0]).all()


def test_a_long_panorama_is_cut_like_any_image(image):
    long = np.zeros((300, 40_000, 3), np.uint8)
    long[:, 39_000:39_400] = image
    for side in (60, 100, 250):
        there, here = cut(long, Square(39_200, 150, side, 0.2), 40), cut(image, Square(200, 150, side, 0.2), 40)
        assert difference(there, here) < 0.1


def test_fine_patterns_leave_no_coarse_ones():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    found = cut(stripes, Square(200, 200, 390, 0.1), 40)
    assert found.std() < 12
