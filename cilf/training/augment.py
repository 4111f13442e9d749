"""Random views of one face that imitate cameras and image files: uint8 in, uint8 out, without torch.

A view passes through the steps of a photograph: framing, light, lens, sensor, developing, a first size, sharpening, a
file, and the model's input size. Intermediate sizes differ from the model's, so noise and compression blocks occur in
all grain sizes.
"""

from __future__ import annotations

import io
import math

import cv2
import numpy as np
from PIL import Image

MARGIN = 1.15
"""Faces are stored larger than the model's input by this factor, so that a closer view does not need upscaling."""

CLEAN = 1 / 3
"""Share of the views that are only reframed and slightly relit."""

_SMALLEST, _LARGEST = 24, 1.75
"""Range of intermediate sides: the smallest in pixels, the largest as a multiple of the model's side."""

_SHRINKING = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
_ENLARGING = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
_LUMA = np.array([0.299, 0.587, 0.114])


def augment(image_HWC: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random view of a face.

    All views: zoom ±15 %, aspect ±5 %, shift with a standard deviation of 4 % of the side, rotation up to 12 degrees
    in 60 %, mirror in half, a box erased in 10 %, grey in 8 %. A third of the views is otherwise nearly clean. The
    other two thirds get each of the following independently: light, from a fifth to 1.6 times, and its colour (60 %);
    blur by defocus or motion (30 %); noise of σ 1-20 in luma, chroma or all channels, in grains of 1-3 pixels (50 %);
    gamma, contrast and saturation (60 %); an intermediate size, from 24 pixels to 1.75 times the model's (50 %);
    sharpening (20 %); a file (65 %: JPEG of quality 15-98, WebP 10-95, rarely AVIF 15-90).

    Args:
        image_HWC: uint8 [H, W, 3], RGB.
        size: side of the result, pixels.
        rng: random number generator; the same state gives the same view.

    Returns:
        uint8 [size, size, 3].
    """
    clean = rng.random() < CLEAN
    taken, stored = (size, size) if clean else _sides(size, rng)
    x = _erased(_framed(image_HWC, taken, rng), rng)
    if clean:
        return _developed(x, 0.1, rng)
    x = _exposed(x, rng) if rng.random() < 0.6 else x
    x = _blurred(x, rng) if rng.random() < 0.3 else x
    x = _noisy(x, rng) if rng.random() < 0.5 else x
    x = _developed(x, 0.3 if rng.random() < 0.6 else 0.0, rng)
    x = _resized(x, stored, rng)
    x = _sharpened(x, rng) if rng.random() < 0.2 else x
    x = _saved(x, rng) if rng.random() < 0.65 else x
    return _resized(x, size, rng)


def _sides(size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Sides of the face on the sensor and in the file, pixels: the model's, another one for both, or two others."""
    ends = math.log(min(_SMALLEST, size)), math.log(_LARGEST * size)
    taken, stored = (round(math.exp(rng.uniform(*ends))) for _ in range(2))
    kind = rng.random()
    return (size, size) if kind < 0.5 else (taken, taken) if kind < 0.75 else (taken, stored)


def _framed(image_HWC: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Frame the view by one affine map from its pixels to the image's, so that the image is resampled once."""
    near = round(size * MARGIN)
    if min(image_HWC.shape[:2]) > near:  # bilinear sampling alone would alias
        image_HWC = cv2.resize(image_HWC, (near, near), interpolation=cv2.INTER_AREA)
    height, width = image_HWC.shape[:2]
    angle = math.radians(rng.uniform(-12, 12)) if rng.random() < 0.6 else 0.0
    shown, aspect = math.exp(rng.uniform(-0.15, 0.15)), math.exp(rng.uniform(-0.05, 0.05))
    shift = np.clip(rng.normal(0, 0.04, 2), -0.1, 0.1)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn * shown @ np.diag([mirror * aspect * width / size, height / aspect / size])
    offset = (0.5 + shift) * [width, height] - 0.5 - matrix @ np.full(2, (size - 1) / 2)
    return cv2.warpAffine(
        image_HWC,
        np.column_stack([matrix, offset]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,  # as labelling fills the area beyond a photograph's edge
    )


def _erased(x_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fill a box over 4 to 20 % of the view with its mean colour, in 10 % of the views."""
    if rng.random() < 0.1:
        side = len(x_HWC)
        height, width = (rng.uniform(0.2, 0.45, 2) * side).astype(int)
        top, left = int(rng.integers(0, side - height + 1)), int(rng.integers(0, side - width + 1))
        x_HWC[top : top + height, left : left + width] = x_HWC.mean(axis=(0, 1)).astype(np.uint8)
    return x_HWC


def _exposed(x_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the brightness, and in half the views the colour, of the light."""
    light = math.exp(rng.triangular(math.log(0.2), 0, math.log(1.6)))
    cast = np.exp(rng.normal(0, 0.12, 3)) if rng.random() < 0.5 else np.ones(3)
    return cv2.transform(x_HWC, np.diag(light * cast))


def _blurred(x_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur by defocus, or in 30 % of the calls by motion along a line."""
    side = len(x_HWC)
    if rng.random() < 0.7:
        return cv2.GaussianBlur(x_HWC, (0, 0), side * rng.uniform(0.003, 0.018))
    reach = max(1, round(side * rng.uniform(0.01, 0.035)))
    across = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    across[reach] = 1
    line = cv2.warpAffine(across, cv2.getRotationMatrix2D((reach, reach), rng.uniform(0, 180), 1), across.shape)
    return cv2.filter2D(x_HWC, -1, line / line.sum())


def _noisy(x_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise in luma alone, in all channels, or mostly in chroma; coarse noise is weaker, so that a face remains."""
    side, grain = len(x_HWC), int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))
    sigma, kind = math.exp(rng.uniform(0, math.log(20))) / grain, rng.random()
    drawn = math.ceil(side / grain)
    noise: np.ndarray = sigma * rng.standard_normal((drawn, drawn, 1 if kind < 0.4 else 3), np.float32)
    if kind > 0.8:
        noise -= 0.7 * noise.mean(axis=2, keepdims=True)
    if grain > 1:
        noise = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    if kind < 0.4:
        noise = cv2.cvtColor(noise, cv2.COLOR_GRAY2RGB)
    return cv2.add(x_HWC, noise, dtype=cv2.CV_8U)


def _developed(x_HWC: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Change gamma and contrast within ± `strength`, and saturation a little more; grey in 8 %."""
    gamma, contrast = np.exp(rng.uniform(-strength, strength, 2))
    saturation = 0.0 if rng.random() < 0.08 else math.exp(1.5 * rng.uniform(-strength, strength))
    if strength:
        values, middle = 255 * np.linspace(0, 1, 256) ** gamma, x_HWC.mean()
        curve = middle + contrast * (values - middle)
        x_HWC = cv2.LUT(x_HWC, np.rint(curve.clip(0, 255)).astype(np.uint8))
    if saturation == 1:
        return x_HWC
    return cv2.transform(x_HWC, saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1)))


def _resized(x_HWC: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    if len(x_HWC) == size:
        return x_HWC
    filters = _SHRINKING if size < len(x_HWC) else _ENLARGING
    return cv2.resize(x_HWC, (size, size), interpolation=filters[rng.integers(len(filters))])


def _sharpened(x_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sharpen by unsharp masking."""
    amount, sigma = rng.uniform(0.3, 1.5), rng.uniform(0.7, 1.5)
    return cv2.addWeighted(x_HWC, 1 + amount, cv2.GaussianBlur(x_HWC, (0, 0), sigma), -amount, 0)


def _saved(x_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Encode to a file format, at its fastest setting, and decode again."""
    kind, file = rng.random(), io.BytesIO()
    image = Image.fromarray(x_HWC)
    if kind < 0.75:
        chroma = ("4:2:0", "4:2:0", "4:4:4")[rng.integers(3)]
        image.save(file, "JPEG", quality=int(rng.integers(15, 99)), subsampling=chroma)
    elif kind < 0.96:
        image.save(file, "WEBP", quality=int(rng.integers(10, 96)), method=0)
    else:
        image.save(file, "AVIF", quality=int(rng.integers(15, 91)), speed=10, max_threads=1)
    return np.asarray(Image.open(file).convert("RGB"))
