"""An image of any shape -> a square, every pixel of which is an average over what it stands for."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

# Tasks run side by side; threads inside of them would only get in each other's way.
cv2.setNumThreads(1)

_COVERED = 1.6
"""Up to so many pixels of the image to one of the result, along a side, a bilinear sample averages over as good as
the whole of it: its variance is that of an area 1.4 pixels wide."""


def squeeze(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """All of an image, uint8 [H, W, C], in uint8 [size, size, C]; within a level of what Pillow's BILINEAR gives.

    Bilinear samples of an image that is much finer than the result would alias: show its fine patterns as coarse
    ones that are not there. So there are 2, 4, 8 ... of them to a pixel along a long side, and what is left is
    blurred away. That is about as smooth as averages over areas, in a fraction of the time of OpenCV's INTER_AREA.
    """
    return _resample(image_HWC, size, size)


def _resample(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    down, across = image_HWC.shape[0] / height, image_HWC.shape[1] / width
    if max(down, across) >= 2:
        finer = _resample(image_HWC, height * (1 + (down >= 2)), width * (1 + (across >= 2)))
        return cv2.resize(finer, (width, height), interpolation=cv2.INTER_AREA)
    if max(down, across) > _COVERED:
        image_HWC = cv2.sepFilter2D(image_HWC, -1, _blur(across), _blur(down), borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(image_HWC, (width, height), interpolation=cv2.INTER_LINEAR)


@lru_cache
def _blur(ratio: float) -> np.ndarray:
    """Three weights, whose variance is what bilinear sampling lacks of an average over `ratio` pixels."""
    sampling, area = 1 / 6, ratio**2 / 12
    side = max(area - sampling, 0) / 2
    return np.array([side, 1 - 2 * side, side], np.float32)
