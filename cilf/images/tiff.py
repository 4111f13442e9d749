"""What a TIFF's tags tell beside its size: how much of it is inflated at once, and how its greys are meant."""

from __future__ import annotations

import struct

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 262, 274
_SAMPLES, _ROWS, _TILE_WIDTH, _TILE_HEIGHT = 277, 278, 322, 323
_OF_BLOCKS = (_BITS, _SAMPLES, _ROWS, _TILE_WIDTH, _TILE_HEIGHT)
_WHITE_IS_ZERO, _YCC = 0, 6
_COUNTS = (3, 4, 16)
"""Types of a tag that counts something: 2, 4 and 8 bytes."""
_LAYOUTS = {b"II*\0": ("<H", "<HHL4x"), b"MM\0*": (">H", ">HHL4x"), b"II+\0": ("<Q", "<HHQ8x")}
"""How many tags, and each of them, by how a file starts. Pillow mistakes what starts in another way."""


def take_memory(image: TiffImageFile) -> None:
    """Allocate the image before its pixels are read. Pillow does so only within the bound that this process has set."""
    stored = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
    image.im = Image.new(image.mode, stored, None).im


def is_turned(image: TiffImageFile) -> bool:
    """Whether Pillow will turn it upright, for which it holds it twice."""
    return image.tag_v2.get(_ORIENTATION, 1) != 1


def is_negative(image: TiffImageFile) -> bool:
    return image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def bits(image: TiffImageFile) -> int:
    """Of a sample."""
    return max(image.tag_v2.get(_BITS, (1,)))


def block_bytes(image: TiffImageFile, data: bytes) -> int:
    """Bytes of one strip or tile, which libtiff inflates at once; 0 where nothing is inflated.

    Raises:
        ValueError: Pillow and libtiff may not read the same from the tags.
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
        bytes_per_pixel += 4  # libtiff makes RGBA of it
    return bytes_per_pixel * (tile or strip)


def _check_tags(image: TiffImageFile, data: bytes) -> None:
    """Of a tag that comes twice, or in a strange type, Pillow may take another value than libtiff."""
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
