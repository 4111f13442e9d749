"""What CILF sets in other libraries for a whole process, which it does only in processes that are its own."""

from __future__ import annotations

import warnings

_LONGEST_TEXT = 16 * 2**20
"""Bytes of one text in a PNG, such as XMP; Pillow allows 1 MiB by itself."""


def prepare() -> None:
    """Set up this process, a worker of Ray, for decoding. Can be repeated.

    A process that belongs to somebody else, who imports CILF, is to be left as it is.
    """
    import cv2
    from PIL import Image, PngImagePlugin

    # Tasks run side by side; threads inside of them would only get in each other's way.
    cv2.setNumThreads(1)
    # Every image is checked against --max-pixels before its pixels are read.
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK = _LONGEST_TEXT
    hide_warnings()


def hide_warnings() -> None:
    """What is wrong with a file's metadata is of no interest as long as its pixels can be read."""
    warnings.filterwarnings("ignore", module="PIL")
