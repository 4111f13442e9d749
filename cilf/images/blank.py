"""Detects crops that show nothing. The model must not see them, because it would give them an age all the same."""

from __future__ import annotations

import cv2
import numpy as np

from cilf.images.squeeze import average

_PARTS = 8
_LEAST_CONTRAST, _LEAST_SHARE = 1.0, 0.25
"""Lower bounds for a crop of a face on the standard deviation, in levels of 255, of the means over _PARTS x _PARTS
parts: its value, and its share of the standard deviation of the pixels. The minima over 41,574 crops of UTKFace,
FairFace and FG-NET are 4.6 and 0.44; noise of 128 pixels a side has 0.06."""


def is_blank(crop_HWC: np.ndarray) -> bool:
    """Whether a crop, uint8 [S, S, 3], has a single colour or contains only noise."""
    pixels, parts = (_contrast(image) for image in (crop_HWC, average(crop_HWC, _PARTS, _PARTS)))
    return parts < max(_LEAST_CONTRAST, _LEAST_SHARE * pixels)


def _contrast(image_HWC: np.ndarray) -> float:
    """Mean of the channels' standard deviations."""
    return float(cv2.meanStdDev(image_HWC)[1].mean())
