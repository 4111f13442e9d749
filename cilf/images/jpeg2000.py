"""JPEG 2000 of more than 8 bits per colour, of which Pillow makes black where it is white: it rounds up to 256."""

from __future__ import annotations

import cv2
import numpy as np

_START = b"\xff\x4f\xff\x51"
"""First bytes of a codestream: the markers SOC and SIZ."""
_DEPTH = 42
"""Bytes from there to the number of bits of the first colour."""


def deep_pixels(data: bytes, width: int, height: int) -> np.ndarray | None:
    """uint8 [H, W, 3], RGB, of a file of more than 8 bits; None of any other, or where OpenCV sees something else."""
    at = data.find(_START) + _DEPTH
    if at < _DEPTH or at >= len(data) or (data[at] & 0x7F) < 8:  # it counts from 0
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    return pixels if pixels is not None and pixels.shape == (height, width, 3) else None
