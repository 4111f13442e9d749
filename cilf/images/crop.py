"""Squares cut out of an image, turned and beyond its edges where need be, every pixel an average over what it shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from cilf.images.squeeze import average, squeeze


@dataclass(frozen=True)
class Square:
    """A part of an image."""

    x: float
    """Of its middle, pixels from the left edge of the image."""
    y: float
    """From the top edge."""
    side: float
    """Pixels."""
    radians: float = 0.0
    """How far its upper edge is turned clockwise."""

    def scaled(self, factor: float) -> Square:
        """The same part of an image that is `factor` times as wide and high."""
        return Square(self.x * factor, self.y * factor, self.side * factor, self.radians)


def cut(image_HWC: np.ndarray, square: Square, size: int, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """A square as uint8 [size, size, 3].

    Args:
        image_HWC: uint8 [H, W, 3].
        square: where.
        size: side of the result, pixels.
        border: what lies beyond the image, as OpenCV names it: by default the colours of its edge.
    """
    image_HWC, square = _around(image_HWC, square, max(1.0, square.side / (2 * size)))
    side = max(size, min(2 * size, round(square.side)))
    across, down = math.cos(square.radians), math.sin(square.radians)
    step = square.side / side
    # Middles of the result's pixels -> places in the image.
    turn = step * np.array([[across, -down], [down, across]])
    start = np.array([square.x, square.y]) - turn @ [side / 2, side / 2] + (turn @ [0.5, 0.5]) - 0.5
    found = cv2.warpAffine(
        image_HWC,
        np.column_stack([turn, start]),
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )
    return squeeze(found, size)


def _around(image_HWC: np.ndarray, square: Square, factor: float) -> tuple[np.ndarray, Square]:
    """The image around a square, `factor` times as coarse, and the square in it.

    Never all of a long panorama: OpenCV 4 warps no image of more than 32,767 pixels a side.
    """
    reach = math.ceil(square.side * math.sqrt(0.5)) + 1
    left, right = (max(0, min(image_HWC.shape[1] - 1, int(square.x + d))) for d in (-reach, reach))
    top, bottom = (max(0, min(image_HWC.shape[0] - 1, int(square.y + d))) for d in (-reach, reach))
    part = image_HWC[top : bottom + 1, left : right + 1]
    height, width = (max(1, round(side / factor)) for side in part.shape[:2])
    down, across = height / part.shape[0], width / part.shape[1]
    moved = Square((square.x - left) * across, (square.y - top) * down, square.side / factor, square.radians)
    return average(part, height, width), moved
