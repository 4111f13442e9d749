"""What may happen to a photograph between the scene and the store, one thing at a time and of a known strength."""

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
"""A photograph, uint8 [H, W, 3] in RGB, and randomness -> the photograph afterwards."""


def _same(image_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image_HWC


@dataclass(frozen=True)
class Degradation:
    """One thing that happens to a photograph."""

    name: str
    """As it stands in tables."""
    kind: str
    """`file`, `detail`, `light` or `framing`."""
    change: Change = _same
    """What happens to the pixels."""
    face: int | None = None
    """Pixels along the side of the face, to which the photograph is shrunk; a smaller face is left alone."""
    format: str = "PNG"
    """File format, as Pillow names it."""
    options: Mapping[str, Any] = field(default_factory=lambda: {"compress_level": 0})
    """Arguments of Pillow's `save`."""

    def pixels(self, image_HWC: np.ndarray, side: float, seed: int) -> np.ndarray:
        """The photograph before it is saved; the same seed gives the same one.

        Args:
            image_HWC: uint8 [H, W, 3], RGB.
            side: of the face, pixels; counts only where `face` is set.
            seed: of this photograph; 0 or more.
        """
        changed_HWC = self.change(image_HWC, np.random.default_rng([seed, *self.name.encode()]))
        if self.face is None or self.face >= side:
            return changed_HWC
        height, width = (max(1, round(self.face / side * length)) for length in changed_HWC.shape[:2])
        return cv2.resize(changed_HWC, (width, height), interpolation=cv2.INTER_AREA)

    def saved(self, image_HWC: np.ndarray) -> bytes:
        """A file of these pixels."""
        file = io.BytesIO()
        Image.fromarray(image_HWC).save(file, self.format, **self.options)
        return file.getvalue()


def _noise(sigma: float) -> Change:
    """Gaussian noise of a standard deviation in levels, in each channel by itself."""

    def change(image_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise_HWC = rng.standard_normal(image_HWC.shape, np.float32) * np.float32(sigma)
        return cv2.add(image_HWC, noise_HWC, dtype=cv2.CV_8U)

    return change


def _blur(sigma: float) -> Change:
    """A Gaussian of a standard deviation in pixels."""
    return lambda image_HWC, rng: cv2.GaussianBlur(image_HWC, (0, 0), sigma)


def _light(factor: float) -> Change:
    """Every level times a factor."""
    return lambda image_HWC, rng: cv2.convertScaleAbs(image_HWC, alpha=factor)


def _grey(image_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _framed(shift: float = 0.0, zoom: float = 1.0, degrees: float = 0.0) -> Change:
    """Moved by a share of the shorter side in any direction, scaled about the middle, turned to either side."""

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
