"""Decodes JPEG 2000 files of more than 8 bits per colour. Pillow turns their white into black: it rounds up to 256."""

from __future__ import annotations

import cv2
import numpy as np

_START = b"\xff\x4f\xff\x51"
"""First bytes of a codestream: the markers SOC and SIZ."""
_DEPTH = 42
"""Offset from there to the bit depth of the first colour, bytes."""


def deep_pixels(data: bytes, width: int, height: int) -> np.ndarray | None:
    """Decodes a file of more than 8 bits to uint8 [H, W, 3], RGB; None for any other file, or if OpenCV's result has
    another size."""
    at = data.find(_START) + _DEPTH
    if at < _DEPTH or at >= len(data) or (data[at] & 0x7F) < 8:  # the field stores the depth minus 1
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    return pixels if pixels is not None and pixels.shape == (height, width, 3) else None
