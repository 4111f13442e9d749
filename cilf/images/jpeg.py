"""Decodes ordinary JPEG files at about the scale that the caller needs.

It uses libjpeg-turbo through simplejpeg: Pillow uses the same decoder, but its overhead doubles the time. OpenCV uses
the same decoder too, but writes a line to stderr for every damaged file. Other JPEG files are left to Pillow: see
decode.py.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

import numpy as np
import simplejpeg

MAX_SCANS = 100
"""Each scan of a progressive JPEG is a pass over all pixels; real files have about 10, a bomb has thousands."""

_APP1, _APP2, _START, _END, _START_OF_SCAN = 0xE1, 0xE2, 0xD8, 0xD9, 0xDA
_SEGMENTS = (0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE)  # tables, restart interval, APP0..APP15, comment
_PROGRESSIVE = 0xC2
_HUFFMAN_FRAMES = (0xC0, 0xC1, _PROGRESSIVE)
_FIRST_WITH_LENGTH = 0xC0
_PROFILE = b"ICC_PROFILE\0"
"""Beginning of a part of a colour profile; the part's number and the number of parts follow."""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker, but neither a 0xFF in the entropy-coded data, which a 0 follows, nor a restart marker within it."""


class Header(NamedTuple):
    """The information in a JPEG's segments before the first scan."""

    width: int
    """Width as stored, pixels."""
    height: int
    has_metadata: bool
    """Whether there is an APP1 segment, which EXIF and XMP use."""
    coefficients: int
    """Bytes of coefficients that a decoder holds until the last of several scans; 0 if there is only one scan."""
    profile: bytes
    """The colour profile; empty if there is none."""


def read_header(data: bytes) -> Header | None:
    """Reads the header of an ordinary JPEG: grey or three colours, 8 bits, Huffman codes, no damage before the pixels.

    Returns None for any other file.
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    at, frame, has_metadata, profile = 2, None, False, dict[bytes, bytes]()
    while at + 10 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if kind == _START_OF_SCAN:
            if frame is None:
                return None
            precision, height, width, components = struct.unpack_from(">BHHB", data, frame + 4)
            several_scans = data[frame + 1] == _PROGRESSIVE or data[at + 4] != components
            if several_scans and has_more_scans(data, MAX_SCANS):
                return None
            if precision != 8 or not (width and height) or components not in (1, 3):
                return None
            sampling = [divmod(factors, 16) for factors in data[frame + 11 : frame + 10 + 3 * components : 3]]
            held = coefficients(width, height, sampling) if several_scans else 0
            return Header(width, height, has_metadata, held, b"".join(part for _, part in sorted(profile.items())))
        if kind in _HUFFMAN_FRAMES:
            frame = at
        elif kind not in _SEGMENTS:
            # This includes markers without a length, such as a fill byte 0xFF: reading a length from the bytes that
            # follow would lead into a comment, and to another frame than libjpeg finds.
            return None
        has_metadata |= kind == _APP1
        if kind == _APP2 and data.startswith(_PROFILE, at + 4):
            part = data[at + 4 + len(_PROFILE) : at + 2 + length]
            profile[part[:1]] = part[2:]
        at += 2 + length
    return None


def has_more_scans(data: bytes, limit: int) -> bool:
    """Whether a JPEG has more than `limit` scans.

    Scans of a thumbnail in its metadata do not count, nor anything after the end of the image: a video, another image.
    """
    if data.count(b"\xff\xda") <= limit:
        return False
    at, scans = 2, 0
    while scans <= limit and (found := _MARKER.search(data, at)):
        kind, at = data[found.start() + 1], found.end()
        if kind in (_START, _END):
            return False
        scans += kind == _START_OF_SCAN
        if kind >= _FIRST_WITH_LENGTH:
            at += int.from_bytes(data[at : at + 2], "big")
    return scans > limit


def coefficients(width: int, height: int, sampling: list[tuple[int, int]]) -> int:
    """Bytes of all coefficients of an image, two each; `sampling` holds the sampling factors of each component."""
    across, down = (max(1, *factors) for factors in zip((1, 1), *sampling, strict=True))
    return 2 * width * height * sum(a * b for a, b in sampling) // (across * down)


def read_pixels(data: bytes, header: Header, least: int) -> np.ndarray | None:
    """Decodes to uint8 [H, W, 3], RGB, at the smallest scale of 1, 1/2, 1/4, 1/8 that leaves both sides `least` pixels.

    Returns None if the file is damaged in any way, even in ways that decoders usually tolerate.
    """
    room = min(header.width, header.height) // least
    scale = next((scale for scale in (8, 4, 2) if room >= scale), 1)
    try:
        # libjpeg must confirm the size that the memory check relied on.
        if simplejpeg.decode_jpeg_header(data)[:2] != (header.height, header.width):
            return None
        return simplejpeg.decode_jpeg(data, min_height=-(-header.height // scale), min_width=-(-header.width // scale))
    except (ValueError, KeyError):  # KeyError: sampling factors that no photograph has
        return None
