"""Encoded bytes -> an upright uint8 crop. Labelling and training both come through here, so they see the same."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

DECODE_VERSION = 1
"""Raised whenever the same bytes may give other pixels; part of the fingerprint of every label."""

# Our own bound is checked before anything is decoded; Pillow's would only get in its way.
Image.MAX_IMAGE_PIXELS = None
# What is wrong with a file's metadata is of no interest as long as its pixels can be read.
warnings.filterwarnings("ignore", module="PIL")

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the image upright; 5 to 8 swap width and height."""


@dataclass(frozen=True)
class Decoded:
    """A whole image as the model sees it."""

    width: int
    """Of the upright original, pixels."""
    height: int
    crop: np.ndarray
    """uint8 [S, S, 3], RGB."""


class DecodeError(Exception):
    """Bytes that give no image."""

    def __init__(self, status: Literal["unreadable", "too_large"], reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def decode(data: bytes, size: int, max_pixels: int) -> Decoded:
    """Decode an image of any format that Pillow reads, turn it upright and squeeze all of it into a square.

    A JPEG is decoded at the smallest scale that is still twice the target. The first frame of an animation
    counts. Transparent parts become white, which is what viewers and paper show behind an image; black, which
    a plain conversion gives, would frame a cut-out face like night.

    Args:
        data: the file's bytes.
        size: S, side of the crop, pixels.
        max_pixels: an image with more is refused by its header, before memory is spent on it.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
    """
    if not data:
        raise DecodeError("unreadable", "empty file")
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > max_pixels:
                reason = f"{width} x {height} pixels, more than the {max_pixels} allowed"
                raise DecodeError("too_large", reason)
            image.draft(None, (2 * size, 2 * size))
            image.load()
            crop = _colours(image).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
            orientation = _orientation(image)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError("unreadable", "not an image in a format that is known here") from None
    except Exception as error:  # Pillow's plug-ins raise whatever damaged bytes make them trip over.
        raise DecodeError("unreadable", _one_line(error)) from error
    if crop.mode == "RGBA":
        crop = Image.alpha_composite(Image.new("RGBA", crop.size, "white"), crop).convert("RGB")
    # Turning the small square instead of the image is the same, and free.
    if orientation in _UPRIGHT:
        crop = crop.transpose(_UPRIGHT[orientation])
    if orientation >= 5:
        width, height = height, width
    return Decoded(width, height, np.asarray(crop))


def _colours(image: Image.Image) -> Image.Image:
    """The image as RGB, or RGBA where it has transparent parts."""
    if image.mode.startswith("I;16"):
        # Pillow clips 16-bit greys at 255 instead of scaling them. The low byte is dropped, as it does for RGB.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        # 32-bit greys have no agreed white: the image's own range is taken.
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        low, high = values.min(), values.max()
        return Image.fromarray(((values - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)).convert("RGB")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; 1 where there is none or none that can be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in _UPRIGHT else 1


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "the file", text) or type(error).__name__
