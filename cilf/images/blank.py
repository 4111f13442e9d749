"""Crops that show nothing, which no model is to be asked about: it gives them an age all the same."""

from __future__ import annotations

import cv2
import numpy as np

from cilf.images.squeeze import average

_PARTS = 8
_LEAST_CONTRAST, _LEAST_SHARE = 1.0, 0.25
"""Standard deviation, in levels of 255, of the means over _PARTS x _PARTS parts of a crop of a face: at least, and as a
share of that of its pixels. Of 41,574 crops of UTKFace, FairFace and FG-NET the least are 4.6 and 0.44; noise of 128
pixels a side has 0.06."""


def is_blank(crop_HWC: np.ndarray) -> bool:
    """Whether a crop, uint8 [S, S, 3], is of one colour all over, or of nothing but noise."""
    pixels, parts = (_contrast(image) for image in (crop_HWC, average(crop_HWC, _PARTS, _PARTS)))
    return parts < max(_LEAST_CONTRAST, _LEAST_SHARE * pixels)


def _contrast(image_HWC: np.ndarray) -> float:
    """Mean of the channels' standard deviations."""
    return float(cv2.meanStdDev(image_HWC)[1].mean())
