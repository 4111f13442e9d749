"""Ordinary JPEG files, decoded at about the scale they are needed at.

libjpeg-turbo through simplejpeg: Pillow's decoder is the same, but takes twice the time around it. OpenCV's is the
same too, but writes a line to stderr for every damaged file. What is not ordinary is Pillow's: see decode.py.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import simplejpeg

MAX_SCANS = 100
"""Each scan of a progressive JPEG is a pass over all pixels; real ones have about 10, a bomb has thousands."""

_APP1, _START_OF_SCAN = 0xE1, 0xDA
_PROGRESSIVE = 0xC2
_HUFFMAN_FRAMES = (0xC0, 0xC1, _PROGRESSIVE)
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)  # lossless, hierarchical, arithmetic


class Header(NamedTuple):
    """What is told before the first scan."""

    width: int
    """Pixels, as stored."""
    height: int
    has_metadata: bool
    """Whether there is a segment of the kind that EXIF and XMP come in."""


def read_header(data: bytes) -> Header | None:
    """The header of an ordinary JPEG: grey or three colours, 8 bits, Huffman codes, no damage before the pixels.

    None for anything else.
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    at, frame, has_metadata = 2, None, False
    while at + 10 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if kind == _START_OF_SCAN:
            if frame is None:
                return None
            precision, height, width, components = struct.unpack_from(">BHHB", data, frame + 4)
            several_scans = data[frame + 1] == _PROGRESSIVE or data[at + 4] != components
            if several_scans and data.count(b"\xff\xda", at) > MAX_SCANS:
                return None
            ordinary = precision == 8 and width and height and components in (1, 3)
            return Header(width, height, has_metadata) if ordinary else None
        if kind in _OTHER_FRAMES:
            return None
        if kind in _HUFFMAN_FRAMES:
            frame = at
        has_metadata |= kind == _APP1
        at += 2 + length
    return None


def read_pixels(data: bytes, header: Header, least: int) -> np.ndarray | None:
    """uint8 [H, W, 3], RGB, at the smallest scale of 1, 1/2, 1/4 and 1/8 that leaves both sides `least` pixels.

    None where the file is damaged in any way, even one that decoders usually pass over.
    """
    room = min(header.width, header.height) // least
    scale = next((scale for scale in (8, 4, 2) if room >= scale), 1)
    try:
        return simplejpeg.decode_jpeg(data, min_height=-(-header.height // scale), min_width=-(-header.width // scale))
    except ValueError:
        return None
