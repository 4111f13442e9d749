"""Opens images with Pillow, independently of Pillow's process-wide settings.

This module neither changes nor relies on those settings: the pixel limit may have any value, and other threads may be
using Pillow.
"""

from __future__ import annotations

import io
import struct

from PIL import Image, UnidentifiedImageError
from PIL.BmpImagePlugin import DibImageFile
from PIL.IcoImagePlugin import IcoFile
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile

from cilf.images.brands import as_avif, is_heif
from cilf.images.profiles import inflated

_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "ICO", "JPEG2000", "PPM", "PSD")
"""Formats that photographs come in, apart from HEIC. Pillow reads more, but mistakes noise for some of them (TGA, PCX)
and runs programs for others (EPS)."""

_PNG, _ICON = b"\x89PNG\r\n\x1a\n", b"\0\0\1\0"


def opened(data: bytes) -> ImageFile:
    """Opens an image without reading its pixels, like Image.open, but without a pixel limit.

    See `size_within` for the formats whose pixels Pillow reads while opening.

    Raises:
        UnidentifiedImageError: the data has none of _FORMATS.
        OSError: HEIF that libheif does not read.
    """
    if is_heif(data):
        return _heif(data)
    Image.init()  # before this call Pillow knows only a few formats
    data, profile = _without_profile(as_avif(data))
    for name in _FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is None or accept(data[:16]) is True:
            try:
                image = factory(io.BytesIO(data), "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue
            if profile is not None:
                image.info["icc_profile"] = profile
            return image
    raise UnidentifiedImageError


def size_within(data: bytes) -> tuple[int, int]:
    """Width and height, pixels, of the image that Pillow allocates while it opens a file; (0, 0) for most formats.

    An icon's bitmap is twice as high as it looks, because it includes the mask.
    """
    if data.startswith(_ICON):
        start = IcoFile(io.BytesIO(data)).entry[0].offset
        kind = PngImageFile if data[start:].startswith(_PNG) else DibImageFile
        return kind(io.BytesIO(data[start:])).size
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp_size(data)
    return 0, 0


def _heif(data: bytes) -> ImageFile:
    """The primary image, turned and cropped as its container says; EXIF's orientation does not count in HEIF."""
    import pi_heif  # takes memory in every process, and few corpora have such files

    pi_heif.options.DECODE_THREADS = 1
    try:
        return pi_heif.HeifImageFile(io.BytesIO(data), "")
    except SyntaxError as error:
        raise OSError(f"damaged HEIF: {error}") from error


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        both = int.from_bytes(data[21:25], "little")
        return 1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _without_profile(data: bytes) -> tuple[bytes, bytes | None]:
    """Splits a PNG into the file without its colour profile, and the profile.

    Some profiles exceed Pillow's size limit for text in a PNG. Any other file is returned unchanged.
    """
    at = len(_PNG)
    while data.startswith(_PNG) and at + 12 <= len(data) and (kind := data[at + 4 : at + 8]) != b"IDAT":
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"iCCP":
            return data[:at] + data[end:], inflated(data[at + 8 : end - 4])
        at = end
    return data, None
