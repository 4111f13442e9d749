"""An image of any shape -> a square, every pixel of which is an average over what it stands for."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

_COVERED = 1.6
"""Pixels along a side that a bilinear sample averages over well enough, where the result will be halved again."""


def squeeze(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """All of an image, uint8 [H, W, C], in uint8 [size, size, C]; within a level or so of Pillow's BILINEAR.

    Bilinear samples of an image that is finer than the result would alias: show its fine patterns as coarse ones
    that are not there. So long sides are first averaged down to twice the result, and what is then still finer than
    the result is blurred away. That is smoother than averages over areas, as OpenCV's INTER_AREA has them, in a
    third of the time.
    """
    rows, columns = image_HWC.shape[:2]
    height, width = min(rows, 2 * size), min(columns, 2 * size)
    image_HWC = average(image_HWC, height, width)
    if max(height, width) > size:
        across, down = _blur(columns, width, size), _blur(rows, height, size)
        image_HWC = cv2.sepFilter2D(image_HWC, -1, across, down, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(image_HWC, (size, size), interpolation=cv2.INTER_LINEAR)


def average(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image, uint8 [H, W, C], at a smaller size: every pixel counts.

    By bilinear samples, 1, 2, 4 ... of them a pixel along a side, enough to cover all.
    """
    down, across = image_HWC.shape[0] / height, image_HWC.shape[1] / width
    if down == across == 1:
        return image_HWC
    if max(down, across) > _COVERED:
        image_HWC = average(image_HWC, height * (1 + (down > _COVERED)), width * (1 + (across > _COVERED)))
    return cv2.resize(image_HWC, (width, height), interpolation=cv2.INTER_LINEAR)


@lru_cache
def _blur(side: int, averaged: int, size: int) -> np.ndarray:
    """Three weights to blur a side with that was `side` pixels, is `averaged` and will be `size`.

    Their variance is what two times of bilinear sampling, 1/6 of a square pixel each, lack of the triangle, two
    pixels of the result wide, that Pillow weighs with.
    """
    triangle, sampling = (averaged / size) ** 2 / 6, 1 / 6
    first_sampling = (averaged / side) ** 2 / 6 if averaged < side else 0
    weight = max(triangle - sampling - first_sampling, 0) / 2
    return np.array([weight, 1 - 2 * weight, weight], np.float32)
