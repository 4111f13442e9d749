"""Converts pixels of another colour space, such as the Display P3 of many phones, to sRGB by their colour profile.

Models see numbers, not colours: without the conversion, a picture in a wide colour space looks paler to them than in
sRGB. LittleCMS converts, through Pillow. Grey and CMYK profiles are ignored.
"""

from __future__ import annotations

import io
import zlib
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_AT_ONCE = 1_000_000
"""Number of pixels converted at once, so that Pillow's copies stay small."""
_MOST_BYTES = 1_000_000
"""RGB profiles have hundreds or thousands of bytes; larger ones are ignored."""
_ALIKE = 2
"""Levels of 255: a profile that changes no colour by more is treated as sRGB."""
_GRID = np.stack(np.meshgrid(*[np.linspace(0, 255, 9).astype(np.uint8)] * 3), axis=-1).reshape(27, 27, 3)
"""A grid of colours on which a profile is compared with sRGB."""


def in_srgb(pixels_HWC: np.ndarray, profile: bytes | None) -> np.ndarray:
    """Converts pixels, uint8 [H, W, 3], to sRGB, in place if the array is writable.

    Pixels are returned unchanged if the profile is that of sRGB, or cannot be used.
    """
    transform = _transform(profile) if profile and len(profile) <= _MOST_BYTES else None
    if transform is None:
        return pixels_HWC
    out, rows = np.require(pixels_HWC, requirements="W"), max(1, _AT_ONCE // pixels_HWC.shape[1])
    for top in range(0, len(out), rows):
        out[top : top + rows] = _applied(transform, out[top : top + rows])
    return out


def profile_of(image: Image.Image) -> bytes | None:
    """The colour profile of an image in an RGB or palette mode; None for other modes, and if there is none."""
    return image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "RGBX", "RGBa", "P", "PA") else None


def inflated(chunk: bytes) -> bytes | None:
    """Inflates the profile in a PNG's iCCP chunk, which holds a name, a zero, the method and the deflated profile."""
    try:
        return zlib.decompressobj().decompress(chunk[chunk.index(b"\0") + 2 :], _MOST_BYTES + 1)
    except (ValueError, zlib.error):
        return None


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile to sRGB; None if it changes nothing, or LittleCMS cannot read an RGB profile."""
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), "RGB", "RGB")
        changes = np.abs(_applied(transform, _GRID).astype(int) - _GRID).max()
    except (ImageCms.PyCMSError, OSError):
        return None
    return transform if changes > _ALIKE else None


def _applied(transform: ImageCms.ImageCmsTransform, pixels_HWC: np.ndarray) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(pixels_HWC))
    return np.asarray(ImageCms.applyTransform(image, transform))
