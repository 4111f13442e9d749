"""Decodes large JPEG photographs at 1/8 scale: the same pixels as libjpeg in little more than half the time.

It handles only the kind of JPEG that cameras write, and only if _eighth.c could be compiled; libjpeg decodes the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np

try:
    from cilf.images import _eighth  # type: ignore[attr-defined]
except ImportError:
    _eighth = None

_BASELINE, _HUFFMAN, _START_OF_SCAN, _QUANTIZERS, _RESTARTS = 0xC0, 0xC4, 0xDA, 0xDB, 0xDD
_OTHERS = {0xC1, 0xC2, 0xEE}
"""Other kinds of frames, and Adobe's segment, which may declare colours other than JFIF's."""

_KINDS = {_BASELINE, _HUFFMAN, _START_OF_SCAN, _QUANTIZERS, _RESTARTS, *_OTHERS}

_SAMPLINGS = ([0x11], [0x11, 0x11, 0x11], [0x22, 0x11, 0x11])
"""Horizontal and vertical sampling factors of each component: grey, chroma at full and at half resolution."""

_EVERY_COEFFICIENT = b"\x00\x3f\x00"

_MOST_TABLES = 4096
"""Size limit of all tables together, bytes: four quantizer tables and eight code tables can have 2,444."""


def read_pixels(data: bytes) -> np.ndarray | None:
    """Decodes to uint8 [⌈H/8⌉, ⌈W/8⌉, 3], RGB; None if libjpeg must decode the file, if only to report the damage.

    Args:
        data: a JPEG whose header both cilf.images.jpeg.read_header and libjpeg accept: their checks are not repeated
            here.
    """
    if _eighth is None:
        return None
    segments, end = _segments(data)
    tables = segments[_QUANTIZERS] + segments[_HUFFMAN]
    if len(segments[_BASELINE]) != 1 or segments.keys() & _OTHERS or end > len(data):
        return None
    if sum(map(len, tables)) > _MOST_TABLES or any(len(each) != 2 for each in segments[_RESTARTS]):
        return None
    quantizers = dict(_tables(segments[_QUANTIZERS], lambda table: 65))
    codes = dict(_tables(segments[_HUFFMAN], lambda table: 17 + sum(table[1:17])))
    (frame,), (scan,), restarts = segments[_BASELINE], segments[_START_OF_SCAN], segments[_RESTARTS]
    names, sampling, uses = frame[6::3], list(frame[7::3]), frame[8::3]
    if sampling not in _SAMPLINGS or names == b"RGB" or max(quantizers, default=0) > 3:  # those have 16 bits
        return None
    if scan[1:-3:2] != names or not scan.endswith(_EVERY_COEFFICIENT):
        return None
    try:
        pairs = zip(uses, scan[2:-3:2], strict=True)
        components = tuple((quantizers[use], codes[pair >> 4], codes[0x10 | pair & 0x0F]) for use, pair in pairs)
    except (KeyError, ValueError):
        return None
    height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
    interval = int.from_bytes(restarts[-1]) if restarts else 0
    pixels = _eighth.decode(data, end, width, height, sampling[0] == 0x22, interval, components)
    return None if pixels is None else np.frombuffer(pixels, np.uint8).reshape(-(-height // 8), -(-width // 8), 3)


def _segments(data: bytes) -> tuple[defaultdict[int, list[bytes]], int]:
    """The contents of the segments in _KINDS, up to the start of scan, and the offset where the scan's codes begin."""
    segments: defaultdict[int, list[bytes]] = defaultdict(list)
    kind, end = 0, 2
    while kind != _START_OF_SCAN:
        start, kind = end, data[end + 1]
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
        if kind in _KINDS:
            segments[kind].append(data[start + 4 : end])
    return segments, end


def _tables(segments: list[bytes], size: Callable[[bytes], int]) -> Iterator[tuple[int, bytes]]:
    """The tables in segments that may hold several each: number and content of each table."""
    for segment in segments:
        while segment:
            yield segment[0], segment[1 : size(segment)]
            segment = segment[size(segment) :]
