"""Reads from a TIFF's tags how much of the file is decompressed at once and how grey values are to be interpreted."""

from __future__ import annotations

import struct

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 262, 274
_SAMPLES, _ROWS, _TILE_WIDTH, _TILE_HEIGHT = 277, 278, 322, 323
_OF_BLOCKS = (_BITS, _SAMPLES, _ROWS, _TILE_WIDTH, _TILE_HEIGHT)
_WHITE_IS_ZERO, _YCC = 0, 6
_COUNTS = (3, 4, 16)
"""Tag types that hold a count: 2, 4 and 8 bytes."""
_LAYOUTS = {b"II*\0": ("<H", "<HHL4x"), b"MM\0*": (">H", ">HHL4x"), b"II+\0": ("<Q", "<HHQ8x")}
"""Struct formats of the number of tags and of one tag, by a file's first four bytes. Pillow misreads files that start
otherwise."""


def take_memory(image: TiffImageFile) -> None:
    """Allocate the image before its pixels are read. Pillow itself allocates only within this process's pixel limit."""
    stored = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
    image.im = Image.new(image.mode, stored, None).im


def is_turned(image: TiffImageFile) -> bool:
    """Whether Pillow will turn the image upright, for which it holds two copies."""
    return image.tag_v2.get(_ORIENTATION, 1) != 1


def is_negative(image: TiffImageFile) -> bool:
    return image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def bits(image: TiffImageFile) -> int:
    """Bits per sample."""
    return max(image.tag_v2.get(_BITS, (1,)))


def block_bytes(image: TiffImageFile, data: bytes) -> int:
    """Bytes of one strip or tile, which libtiff decompresses at once; 0 if the file is not compressed.

    Raises:
        ValueError: Pillow and libtiff may read different values from the tags.
    """
    if image.info["compression"] == "raw":
        return 0
    _check_tags(image, data)
    tags = image.tag_v2
    strip = tags[_WIDTH] * min(tags.get(_ROWS, tags[_HEIGHT]), tags[_HEIGHT])
    tile = tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0)
    samples = max(tags.get(_SAMPLES, 1), len(image.getbands()))
    bytes_per_pixel = -(-samples * bits(image) // 8)
    if tags.get(_PHOTOMETRIC) == _YCC:
        bytes_per_pixel += 4  # libtiff converts it to RGBA
    return bytes_per_pixel * (tile or strip)


def _check_tags(image: TiffImageFile, data: bytes) -> None:
    """Reject duplicate tags and tags of an unusual type, for which Pillow may read another value than libtiff."""
    if data[:4] not in _LAYOUTS:
        raise ValueError("a byte order that can be read in two ways")
    count, entry = _LAYOUTS[data[:4]]
    (number,) = struct.unpack_from(count, data, image.tag_v2.offset)
    start = image.tag_v2.offset + struct.calcsize(count)
    seen = set()
    for tag, kind, values in struct.iter_unpack(entry, data[start : start + number * struct.calcsize(entry)]):
        if tag not in _OF_BLOCKS:
            continue
        plain = kind in _COUNTS and (values == 1 or tag == _BITS) and tag in image.tag_v2
        if tag in seen or not plain:
            raise ValueError(f"tag {tag} can be read in two ways")
        seen.add(tag)
