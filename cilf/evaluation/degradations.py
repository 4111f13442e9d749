"""Degradations of photographs by file format, detail, light and framing, each applied alone at a known strength."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Function of a photograph, uint8 [H, W, 3] in RGB, and a random generator that returns the changed photograph."""


def _same(image_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image_HWC


@dataclass(frozen=True)
class Degradation:
    """One degradation of a photograph."""

    name: str
    """Name in tables."""
    kind: str
    """`file`, `detail`, `light` or `framing`."""
    change: Change = _same
    """Change of the pixels."""
    face: int | None = None
    """Side of the face in pixels after the photograph is shrunk; a photograph with a smaller face stays as it is."""
    format: str = "PNG"
    """File format, as Pillow names it."""
    options: Mapping[str, Any] = field(default_factory=lambda: {"compress_level": 0})
    """Arguments of Pillow's `save`."""

    def pixels(self, image_HWC: np.ndarray, side: float, seed: int) -> np.ndarray:
        """The degraded photograph before it is saved; the same seed gives the same pixels.

        Args:
            image_HWC: uint8 [H, W, 3], RGB.
            side: side of the face, pixels; used only if `face` is set.
            seed: seed for this photograph; 0 or more.
        """
        changed_HWC = self.change(image_HWC, np.random.default_rng([seed, *self.name.encode()]))
        if self.face is None or self.face >= side:
            return changed_HWC
        height, width = (max(1, round(self.face / side * length)) for length in changed_HWC.shape[:2])
        return cv2.resize(changed_HWC, (width, height), interpolation=cv2.INTER_AREA)

    def saved(self, image_HWC: np.ndarray) -> bytes:
        """The bytes of a file with these pixels."""
        file = io.BytesIO()
        Image.fromarray(image_HWC).save(file, self.format, **self.options)
        return file.getvalue()


def _noise(sigma: float) -> Change:
    """Gaussian noise, independent in each channel; `sigma` is its standard deviation in levels."""

    def change(image_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise_HWC = rng.standard_normal(image_HWC.shape, np.float32) * np.float32(sigma)
        return cv2.add(image_HWC, noise_HWC, dtype=cv2.CV_8U)

    return change


def _blur(sigma: float) -> Change:
    """Gaussian blur; `sigma` is its standard deviation in pixels."""
    return lambda image_HWC, rng: cv2.GaussianBlur(image_HWC, (0, 0), sigma)


def _light(factor: float) -> Change:
    """Multiply every level by a factor."""
    return lambda image_HWC, rng: cv2.convertScaleAbs(image_HWC, alpha=factor)


def _grey(image_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _framed(shift: float = 0.0, zoom: float = 1.0, degrees: float = 0.0) -> Change:
    """Move by a share of the shorter side in a random direction, scale about the middle, turn to either side."""

    def change(image_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image_HWC.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees * rng.choice([-1, 1]), zoom)
        direction = rng.uniform(0, 2 * math.pi)
        matrix[:, 2] += shift * min(height, width) * np.array([math.cos(direction), math.sin(direction)])
        return cv2.warpAffine(image_HWC, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)

    return change


DEGRADATIONS = (
    Degradation("PNG", "file"),
    *(Degradation(f"JPEG {q}", "file", format="JPEG", options={"quality": q}) for q in (95, 75, 50)),
    *(Degradation(f"WebP {q}", "file", format="WEBP", options={"quality": q}) for q in (85, 50)),
    Degradation("AVIF 75", "file", format="AVIF", options={"quality": 75, "speed": 8, "max_threads": 1}),
    *(Degradation(f"noise σ {sigma}", "detail", _noise(sigma)) for sigma in (8, 16)),
    *(Degradation(f"blur σ {sigma}", "detail", _blur(sigma)) for sigma in (1, 2)),
    *(Degradation(f"{pixels} pixels", "detail", face=pixels) for pixels in (64, 48, 32)),
    *(Degradation(f"light × {factor:g}", "light", _light(factor)) for factor in (0.5, 0.25, 1.4)),
    Degradation("grey", "light", _grey),
    Degradation("shift 3 %", "framing", _framed(shift=0.03)),
    Degradation("zoom + 10 %", "framing", _framed(zoom=1.1)),
    Degradation("zoom − 10 %", "framing", _framed(zoom=0.9)),
    Degradation("turn 8°", "framing", _framed(degrees=8)),
)
