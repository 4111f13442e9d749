"""Settings of other libraries for a whole process, which CILF only makes in processes of its own."""

from __future__ import annotations

import warnings

_LONGEST_TEXT = 16 * 2**20
"""Bytes of one text in a PNG, such as XMP; Pillow's default is 1 MiB."""


def prepare() -> None:
    """Set up this process, a worker of Ray, for decoding. Can be repeated.

    Do not call it in the process of a program that imports CILF.
    """
    import cv2
    from PIL import Image, PngImagePlugin

    # Tasks run in parallel; threads inside of them would only compete for the cores.
    cv2.setNumThreads(1)
    # Every image is checked against --max-pixels before its pixels are read.
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK = _LONGEST_TEXT
    hide_warnings()


def hide_warnings() -> None:
    """Hide Pillow's warnings: faults in a file's metadata do not matter as long as its pixels can be read."""
    warnings.filterwarnings("ignore", module="PIL")
