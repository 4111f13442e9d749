"""Decodes encoded bytes to an upright uint8 crop. Labelling and training both use this module, so they see the same
pixels."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from cilf.images import jpeg, jpeg2000, pillow, tiff, tiff_pages
from cilf.images.kinds import not_known, not_read
from cilf.images.profiles import in_srgb, profile_of
from cilf.images.squeeze import squeeze

DECODE_VERSION = 8
"""Bump this when decoding changes pixels for the same input bytes; part of the fingerprint of every label."""

_ORIENTATION = 0x0112

_PIXELS_AT_ONCE = 1_000_000

_OURS = 3
"""Bytes per pixel of the image that `read` returns."""

BYTES_PER_PIXEL = 4 + _OURS
"""Memory per pixel of an RGB image, Pillow's copy and ours. Any image may take this much per allowed pixel."""

_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes per pixel of Pillow's images by mode; 4 for all other modes."""

_READING = {"WEBP": 16, "AVIF": 16, "HEIF": 12}
"""Bytes per pixel while Pillow reads the format: one or two copies of each decoder canvas, the bytes and the image."""


@dataclass(frozen=True)
class Decoded:
    """A whole image as the model sees it."""

    width: int
    """Width of the upright original, pixels."""
    height: int
    crop: np.ndarray
    """uint8 [S, S, 3], RGB."""


@dataclass(frozen=True)
class Photograph:
    """A whole image, at about the scale that the caller needs."""

    width: int
    """Width of the upright original, pixels."""
    height: int
    orientation: int
    """EXIF orientation, 1..8: how `stored` must be turned to be upright."""
    stored: np.ndarray
    """uint8 [H, W, 3], RGB, in the file's orientation."""

    @property
    def upright(self) -> np.ndarray:
        """The upright image, uint8 [H, W, 3], RGB, contiguous, as a viewer shows it."""
        return _upright(self.stored, self.orientation)


Source = bytes | np.ndarray
"""A photograph: the bytes of its file, or its upright pixels, decoded already, uint8 [H, W, 3], RGB."""


class DecodeError(Exception):
    """The bytes cannot be decoded to an image."""

    def __init__(self, status: Literal["unreadable", "too_large"], reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def decode(data: Source, size: int, max_pixels: int) -> Decoded:
    """Decode an image, turn it upright and resize all of it to a square.

    Args:
        data: the photograph.
        size: S, side of the crop, pixels.
        max_pixels: as in `read`.

    Raises:
        DecodeError: not an image, a damaged one, or one that is too large.
    """
    photograph = read(data, 2 * size, max_pixels)
    # Turning the small square gives the same result as turning the image, and costs almost nothing.
    crop = _upright(squeeze(photograph.stored, size), photograph.orientation)
    return Decoded(photograph.width, photograph.height, crop)


def read(data: Source, least: int, max_pixels: int) -> Photograph:
    """Decode an image of any format in cilf.images.pillow. Pixels stay as they are.

    An animation gives its first frame. If an RGB profile names another colour space, colours are converted to sRGB.
    Transparent parts become white, which viewers and paper show behind an image; a plain conversion would give black,
    and surround a cut-out face with a dark frame. A truncated file is unreadable; a file with damaged bytes in the
    middle that still decodes to its end is an image, as in viewers.

    Args:
        data: the photograph.
        least: a JPEG is decoded at the smallest scale at which both sides still have this many pixels.
        max_pixels: an image with more pixels is rejected by its header, before memory is allocated for it; so is an
            image that would take more memory than an RGB image of this many pixels.

    Raises:
        DecodeError: not an image, a damaged one, or one that is too large.
    """
    if isinstance(data, np.ndarray):
        height, width, _ = data.shape
        _check_pixels(width, height, max_pixels)
        return _photograph(width, height, 1, data)
    if not data:
        raise DecodeError("unreadable", "empty file")
    header = jpeg.read_header(data)
    if header:
        _check_pixels(header.width, header.height, max_pixels)
        held = header.coefficients + _OURS * header.width * header.height
        _check_memory(header.width, header.height, held, max_pixels)
        pixels = jpeg.read_pixels(data, header, least)
        if pixels is not None:
            orientation = _jpeg_orientation(data) if header.has_metadata else 1
            return _photograph(header.width, header.height, orientation, in_srgb(pixels, header.profile))
    try:
        if kind := not_read(data):
            raise DecodeError("unreadable", kind)
        return _read_any(data, least, max_pixels)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError("unreadable", not_known(data)) from None
    except Image.DecompressionBombError as error:
        reason = f"{_first_number(error)} pixels, more than PIL.Image.MAX_IMAGE_PIXELS of this process allows"
        raise DecodeError("too_large", reason) from None
    except Exception as error:  # Pillow's plug-ins may raise any exception for damaged bytes.
        raise DecodeError("unreadable", _one_line(error)) from error


def upright_pixels(image: Image.Image) -> np.ndarray:
    """The upright pixels of an image that Pillow has opened or made, uint8 [H, W, 3], RGB.

    Orientation, colours and transparency are treated as in `read`.

    Raises:
        DecodeError: its pixels cannot be read.
    """
    try:
        image.load()
        return _upright(in_srgb(_rgb(image), profile_of(image)), _orientation(image))
    except Exception as error:  # Pillow's plug-ins may raise any exception for damaged bytes.
        raise DecodeError("unreadable", _one_line(error)) from error


def _read_any(data: bytes, least: int, max_pixels: int) -> Photograph:
    """Decode with Pillow, which reads every format and colour space and decides what is damaged."""
    _check_pixels(*pillow.size_within(data), max_pixels)
    with pillow.opened(data) as image:
        if isinstance(image, TiffImageFile):
            image.seek(tiff_pages.picture(data))
        width, height = image.size
        _check_pixels(width, height, max_pixels)
        if isinstance(image, JpegImageFile):
            most = jpeg.MAX_SCANS * max_pixels // (width * height)
            if jpeg.has_more_scans(data, most):
                raise DecodeError("unreadable", "more scans than any photograph has")
        _check_memory(width, height, _held(image, data), max_pixels)
        image.draft(None, (least, least))
        if isinstance(image, TiffImageFile):
            tiff.take_memory(image)
        image.load()
        return _photograph(width, height, _orientation(image), _as_shown(image, data))


def _as_shown(image: Image.Image, data: bytes) -> np.ndarray:
    """The pixels of an image that has been loaded, uint8 [H, W, 3], sRGB."""
    may_be_deep = image.format == "JPEG2000" and image.mode == "RGB"
    deep = jpeg2000.deep_pixels(data, *image.size) if may_be_deep else None
    pixels = _rgb(image) if deep is None else deep
    return in_srgb(pixels, profile_of(image))


def _photograph(width: int, height: int, orientation: int, stored: np.ndarray) -> Photograph:
    if orientation >= 5:
        width, height = height, width
    return Photograph(width, height, orientation, stored)


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DecodeError("too_large", f"{width} x {height} pixels, more than the {max_pixels} allowed")


def _check_memory(width: int, height: int, held: int, max_pixels: int) -> None:
    allowed = BYTES_PER_PIXEL * max_pixels
    if held > allowed:
        reason = f"{width} x {height} pixels that take {held} bytes to decode, more than the {allowed} allowed"
        raise DecodeError("too_large", reason)


def _held(image: Image.Image, data: bytes) -> int:
    """Peak memory in bytes to decode an image, estimated before its pixels are read."""
    pixels = image.width * image.height
    stored = pixels * _STORED.get(image.mode, 4)
    reading = max(stored, pixels * _READING.get(image.format or "", 0))
    if isinstance(image, JpegImageFile):
        if jpeg.has_more_scans(data, 1):
            reading += jpeg.coefficients(*image.size, [(down, across) for _, down, across, _ in image.layer])
    elif isinstance(image, TiffImageFile):
        reading = stored * (1 + tiff.is_turned(image)) + tiff.block_bytes(image, data)
    elif image.format == "JPEG2000":
        reading += pixels * len(image.getbands()) * 6  # OpenJPEG's 32-bit values, then 16-bit ones
    return max(reading, stored + pixels * _OURS)


def _rgb(image: Image.Image) -> np.ndarray:
    """Converts an image to uint8 [H, W, 3], RGB."""
    # Convert a part at a time: Pillow's own conversions hold the whole image two or three times.
    at_once = min(_PIXELS_AT_ONCE, Image.MAX_IMAGE_PIXELS or _PIXELS_AT_ONCE)  # else Pillow warns about the part
    columns = min(image.width, at_once)
    rows = max(1, at_once // columns)
    parts = [
        (left, top, min(left + columns, image.width), min(top + rows, image.height))
        for top in range(0, image.height, rows)
        for left in range(0, image.width, columns)
    ]
    pixels_of = _conversion(image, parts)
    out = np.empty((image.height, image.width, 3), np.uint8)
    for left, top, right, bottom in parts:
        out[top:bottom, left:right] = pixels_of(image.crop((left, top, right, bottom)))
    return out


def _conversion(image: Image.Image, parts: list[tuple[int, int, int, int]]) -> Callable[[Image.Image], np.ndarray]:
    """The function that converts a part of an image to uint8 [H, W, 3], or to [H, W, 1] if the image is grey."""
    if image.mode.startswith("I;16"):
        # Pillow clips 16-bit greys at 255 instead of scaling them. This drops the low bits, as Pillow does for RGB.
        dropped = tiff.bits(image) - 8 if isinstance(image, TiffImageFile) else 8

        def grey(part: Image.Image) -> np.ndarray:
            return (np.asarray(part) >> dropped).astype(np.uint8)[:, :, None]

    elif image.mode in ("I", "F"):
        # 32-bit greys have no agreed white level, so the image's own range is used.
        ranges = [(values.min(), values.max()) for values in (_numbers(image.crop(box)) for box in parts)]
        black, white = min(low for low, _ in ranges), max(high for _, high in ranges)

        def grey(part: Image.Image) -> np.ndarray:
            values = (_numbers(part) - black) * (255 / max(float(white - black), 1e-9))
            return values.astype(np.uint8)[:, :, None]

    else:
        return _colours
    negative = isinstance(image, TiffImageFile) and tiff.is_negative(image)
    return (lambda part: 255 - grey(part)) if negative else grey


def _numbers(image: Image.Image) -> np.ndarray:
    """The values of an image, float32 [H, W]; 0 for NaN and for magnitudes of 1e30 or more."""
    values = np.array(image, dtype=np.float32)
    values[~(np.abs(values) < 1e30)] = 0
    return values


def _colours(image: Image.Image) -> np.ndarray:
    """Converts an image to uint8 [H, W, 3], RGB, with transparent parts on white."""
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    if image.mode == "La":
        image = image.convert("LA")  # Pillow has no direct conversion to RGBA
    rgba = np.asarray(image.convert("RGBA"), dtype=np.float32)
    alpha = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _upright(stored_HWC: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an image upright; `orientation` is the EXIF value, 1..8."""
    if orientation >= 5:
        stored_HWC = stored_HWC.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        stored_HWC = stored_HWC[:, ::-1]
    if orientation in (3, 4, 7, 8):
        stored_HWC = stored_HWC[::-1]
    return np.ascontiguousarray(stored_HWC)


def _jpeg_orientation(data: bytes) -> int:
    try:
        # Not Image.open, which applies Pillow's own pixel limit instead of the caller's.
        with JpegImageFile(io.BytesIO(data)) as image:
            return _orientation(image)
    except Exception:
        return 1


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; 1 if there is none or it cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in range(1, 9) else 1


def _first_number(error: Exception) -> str:
    found = re.search(r"\d+", str(error))
    return found[0] if found else "too many"


def _one_line(error: Exception) -> str:
    """The error's text on one line, without the parts that differ between files, so that rows can be grouped by it."""
    text = " ".join(str(error).split())
    text = re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "the file", text)
    return re.sub(r" \([^()]*\d[^()]*\)", "", text) or type(error).__name__
