"""Cuts squares out of an image, rotated and beyond its edges if necessary; each pixel averages the area it shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from cilf.images.squeeze import average, squeeze


@dataclass(frozen=True)
class Square:
    """A square part of an image, possibly rotated."""

    x: float
    """Centre, pixels from the left edge of the image."""
    y: float
    """Centre, pixels from the top edge of the image."""
    side: float
    """Length of a side, pixels."""
    radians: float = 0.0
    """Clockwise rotation of its upper edge."""

    def scaled(self, factor: float) -> Square:
        """The same part of an image that is `factor` times as wide and high."""
        return Square(self.x * factor, self.y * factor, self.side * factor, self.radians)


def cut(image_HWC: np.ndarray, square: Square, size: int, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """Cuts a square out of an image, as uint8 [size, size, 3].

    Args:
        image_HWC: uint8 [H, W, 3].
        square: the part of the image to cut out.
        size: side of the result, pixels.
        border: OpenCV's border mode for pixels beyond the image; by default the colours of its edge.
    """
    image_HWC, square = _around(image_HWC, square, max(1.0, square.side / (2 * size)))
    side = max(size, min(2 * size, round(square.side)))
    across, down = math.cos(square.radians), math.sin(square.radians)
    step = square.side / side
    # Centres of the result's pixels -> coordinates in the image.
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
    """The image around a square, shrunk by `factor`, and the square in the shrunk image's coordinates.

    It crops first because OpenCV 4 cannot warp an image of more than 32,767 pixels a side, such as a long panorama.
    """
    reach = math.ceil(square.side * math.sqrt(0.5)) + 1
    left, right = (max(0, min(image_HWC.shape[1] - 1, int(square.x + d))) for d in (-reach, reach))
    top, bottom = (max(0, min(image_HWC.shape[0] - 1, int(square.y + d))) for d in (-reach, reach))
    part = image_HWC[top : bottom + 1, left : right + 1]
    height, width = (max(1, round(side / factor)) for side in part.shape[:2])
    down, across = height / part.shape[0], width / part.shape[1]
    moved = Square((square.x - left) * across, (square.y - top) * down, square.side / factor, square.radians)
    return average(part, height, width), moved
