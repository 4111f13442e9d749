"""Augmentation of one face: uint8 in, uint8 out, in numpy and OpenCV, so that the tasks that do it need no torch."""

from __future__ import annotations

import math

import cv2
import numpy as np

MARGIN = 1.15
"""Faces are kept this much larger than the model's input, so that a closer view still has pixels to show."""


def augment(image_HWC: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random view of a face.

    Geometry: rotation up to 10 degrees, shown side 0.84-1.1 of the image's (corpora frame faces more and less
    closely), aspect up to 5 %, shift up to 5 % of the side, mirror. Light: contrast and brightness ±0.2, saturation
    ±0.2, 5 % grey. Quality: 4 % shrunk to 40 pixels or more and enlarged again, 4 % compressed as JPEG. Erasing: a
    box in 10 % of the views. Stronger than this a small network learned less in the same time: it does not overfit
    first.

    Args:
        image_HWC: uint8 [H, W, 3], RGB.
        size: side of the result, pixels.
        rng: the source of randomness; the same state gives the same view.

    Returns:
        uint8 [size, size, 3].
    """
    near = round(size * MARGIN)
    if min(image_HWC.shape[:2]) > near:  # bilinear sampling alone would alias
        image_HWC = cv2.resize(image_HWC, (near, near), interpolation=cv2.INTER_AREA)
    x = _warp(image_HWC, size, rng)
    x = _relight(x, rng)
    if rng.random() < 0.04:
        small = int(rng.integers(min(40, size), size + 1))
        x = cv2.resize(cv2.resize(x, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    if rng.random() < 0.04:
        _, data = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])
        x = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    if rng.random() < 0.10:
        height, width = (rng.uniform(0.2, 0.45, 2) * size).astype(int)
        top, left = int(rng.integers(0, size - height + 1)), int(rng.integers(0, size - width + 1))
        x[top : top + height, left : left + width] = x.mean(axis=(0, 1)).astype(np.uint8)
    return x


def _warp(image_HWC: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """One affine map from the view's pixels to the image's, so that the image is sampled once."""
    height, width = image_HWC.shape[:2]
    angle = math.radians(rng.uniform(-10, 10))
    shown, aspect = rng.uniform(0.84, 1.1), math.exp(rng.uniform(-0.05, 0.05))
    shift_x, shift_y = rng.uniform(-0.05, 0.05, 2)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn * shown @ np.diag([mirror * aspect * width / size, height / aspect / size])
    centre = np.array([width * (0.5 + shift_x), height * (0.5 + shift_y)]) - 0.5
    offset = centre - matrix @ np.full(2, (size - 1) / 2)
    return cv2.warpAffine(
        image_HWC,
        np.column_stack([matrix, offset]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def _relight(x_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Saturation, contrast and brightness, as one 3 x 3 matrix and an offset over the colours."""
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.8, 1.2)
    contrast, brightness = rng.uniform(0.8, 1.2, 2)
    luma = np.array([0.299, 0.587, 0.114])
    colours = saturation * np.eye(3) + (1 - saturation) * np.tile(luma, (3, 1))
    gain = contrast * brightness
    offset = brightness * (1 - contrast) * float(luma @ x_HWC.mean(axis=(0, 1)))
    return cv2.transform(x_HWC, np.column_stack([colours * gain, np.full(3, offset)]))
