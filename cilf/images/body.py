"""Body crops, for models that look at the body as well as the face (MiVOLO, Kuprashevich & Tolstykh, arXiv 2307.04616).

The paper detects persons with a detector of its own and matches them to faces. This module instead cuts out the part of
the photograph where the body that belongs to a face should be, whatever that part shows. The result is the same in
training and in labelling, exists for every face, and costs only one crop.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from cilf.images.crop import Square, cut

# In sides of the face's crop, which is about as high as a face: head and trunk together are five sides high.
_SIDE, _DOWN = 5.0, 1.9

_LEAST = 0.4
"""Share of the body square that must lie inside the photograph, as in the paper; else the body counts as hidden."""


def body_of(face: Square) -> Square:
    """The square that contains the body. It follows the face's rotation in steps of 90 degrees: heads tilt and bodies
    do not, but people also lie, and hang upside down."""
    radians = math.pi / 2 * round(face.radians / (math.pi / 2))
    x = face.x - _DOWN * face.side * math.sin(radians)
    y = face.y + _DOWN * face.side * math.cos(radians)
    return Square(x, y, _SIDE * face.side, radians)


def cut_body(image_HWC: np.ndarray, face: Square, size: int) -> np.ndarray | None:
    """The body of a face as uint8 [size, size, 3], black beyond the image; None if too much of it lies there.

    Args:
        image_HWC: uint8 [H, W, 3].
        face: the part of the image that the face's crop shows.
        size: side of the result, pixels.
    """
    body = body_of(face)
    middle, reach = np.array([body.x, body.y]), body.side / 2
    inside = np.minimum(middle + reach, image_HWC.shape[1::-1]) - np.maximum(middle - reach, 0)
    if inside.clip(min=0).prod() < _LEAST * body.side**2:
        return None
    return cut(image_HWC, body, size, cv2.BORDER_CONSTANT)


def with_body(face_HWC: np.ndarray, body_HWC: np.ndarray | None) -> np.ndarray:
    """Stacks a face and its body, uint8 [S, S, 3] each, into one array [S, S, 6]; a hidden body is black."""
    return np.concatenate([face_HWC, np.zeros_like(face_HWC) if body_HWC is None else body_HWC], axis=2)
