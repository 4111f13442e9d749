"""Images that other libraries have decoded: Pillow's images and numpy arrays."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cilf.errors import UsageError
from cilf.images.decode import upright_pixels

_CHANNELS = (1, 3, 4)


def pixels(image: Image.Image | np.ndarray) -> np.ndarray:
    """The upright pixels of a decoded image, uint8 [H, W, 3], RGB.

    Args:
        image: an image of Pillow, or an array, uint8 [H, W] or [H, W, 1] (grey), [H, W, 3] (RGB) or [H, W, 4] (RGB and
            alpha). Transparent parts become white, as in files.

    Raises:
        UsageError: an array of another shape or type.
        DecodeError: Pillow cannot read the image's pixels.
    """
    if isinstance(image, Image.Image):
        return upright_pixels(image)
    channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if image.dtype != np.uint8 or channels not in _CHANNELS or not image.size:
        raise UsageError(
            f"an image must be uint8 [H, W, 3] in RGB, not {image.dtype} {list(image.shape)}: scale values to 0..255, "
            "convert them to uint8, and put the channels last"
        )
    if channels == 3:
        return image
    return upright_pixels(Image.fromarray(image[..., 0] if image.ndim == 3 and channels == 1 else image))
