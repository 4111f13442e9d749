"""Finds which image of a TIFF is the photograph: the first may be a preview, and in raw camera files it always is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 259, 262
_MAKE, _SUB_DIRECTORIES, _DNG_VERSION = 271, 330, 50706
_OF_AN_IMAGE = (_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC)
_WANTED = (*_OF_AN_IMAGE, _MAKE, _SUB_DIRECTORIES, _DNG_VERSION)

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""
_OLD_REDUCED = 2
"""Value of SubfileType."""

_SENSOR = (32803, 34892)
"""Photometric interpretations of a sensor's values: one colour per pixel, and linear colours."""
_OF_CAMERAS = (32767, 34713, 65000, 65535)
"""Compression schemes of Sony, Nikon, Kodak and Pentax."""

_NAMES = {
    "CANON": "CR2",
    "EASTMAN KODAK": "DCR or KDC",
    "HASSELBLAD": "3FR",
    "KODAK": "DCR or KDC",
    "LEAF": "MOS",
    "MAMIYA": "MEF",
    "NIKON": "NEF",
    "PENTAX": "PEF",
    "PHASE ONE": "IIQ",
    "RICOH": "PEF",
    "SAMSUNG": "SRW",
    "SEIKO EPSON": "ERF",
    "SONY": "ARW",
}
"""Beginning of a camera maker's name, in capitals -> the name of its raw format."""

_LAYOUTS = {b"*": ("L", "H", "HHL4s"), b"+": ("Q", "Q", "HHQ8s")}
"""Struct formats of an offset, a number of tags and a tag, in TIFF and in BigTIFF."""
_VALUES = {1: "B", 2: "B", 3: "H", 4: "L", 13: "L", 16: "Q", 18: "Q"}
"""Tag types that hold integers or text, and the struct format of one value."""
_MOST_VALUES, _MOST_TAGS, _MOST_DIRECTORIES = 64, 4096, 64

_STORED_ELSEWHERE = "a TIFF whose first page is a preview; its picture is stored in a way that is not read here"


@dataclass(frozen=True)
class _Directory:
    """The tags of one image."""

    page: int | None
    """Its number in the file's chain of images; None for an image that belongs to another image."""
    tags: dict[int, tuple[int, ...]]
    following: int
    """Offset of the next image in the chain; 0 if there is none."""

    def value(self, tag: int) -> int:
        return max(self.tags.get(tag, ()), default=0)

    @property
    def pixels(self) -> int:
        return self.value(_WIDTH) * self.value(_HEIGHT)

    @property
    def is_secondary(self) -> bool:
        """Whether this image is a smaller version of another image, or a mask."""
        reduced = self.value(_NEW_SUBFILE_TYPE) & _REDUCED or self.value(_SUBFILE_TYPE) == _OLD_REDUCED
        return bool(reduced) or self.is_mask

    @property
    def is_mask(self) -> bool:
        return bool(self.value(_NEW_SUBFILE_TYPE) & _MASK)

    @property
    def is_raw(self) -> bool:
        return self.value(_PHOTOMETRIC) in _SENSOR or self.value(_COMPRESSION) in _OF_CAMERAS


def raw_kind(data: bytes) -> str | None:
    """The raw camera format of a TIFF, such as "NEF"; None for any other file."""
    found = _directories(data)
    if not found:
        return None
    first = found[0]
    if data[8:10] == b"CR":
        return "CR2"
    if data[8:12] in (b"IIII", b"MMMM"):
        return "IIQ"
    if _DNG_VERSION in first.tags:
        return "DNG"
    if not any(one.is_raw for one in found):
        return None
    make = bytes(value & 0xFF for value in first.tags.get(_MAKE, ())).decode("latin-1").upper()
    return next((name for maker, name in _NAMES.items() if make.startswith(maker)), "of an unknown camera")


def picture(data: bytes) -> int:
    """The page of a TIFF that is the photograph: the first, unless that is a preview of another page, or a mask.

    If every image is tagged as a preview or a mask, it is the largest preview.

    Raises:
        ValueError: the photograph is not a page of its own, or there are only masks.
    """
    first, *others = found = _directories(data) or [_Directory(0, {}, 0)]
    chosen = [one for one in others if not one.is_secondary and (first.is_mask or one.pixels >= first.pixels)]
    pages = [one.page for one in chosen if one.page is not None]
    if first.is_secondary and pages:
        return pages[0]
    if first.is_secondary and not chosen:
        return _largest(found)
    if any(one.page is None and (first.is_secondary or one.pixels > first.pixels) for one in chosen):
        raise ValueError(_STORED_ELSEWHERE)
    return 0


def _largest(found: list[_Directory]) -> int:
    """The page with the most pixels; the first of several."""
    pictures = [one for one in found if not one.is_mask]
    if not pictures:
        raise ValueError("a TIFF that holds only masks, and no picture")
    page = max(pictures, key=lambda one: one.pixels).page
    if page is None:
        raise ValueError(_STORED_ELSEWHERE)
    return page


def _directories(data: bytes) -> list[_Directory]:
    """The images of a TIFF in the order of the file; empty for any other file."""
    order, layout = {b"II": "<", b"MM": ">"}.get(data[:2]), _LAYOUTS.get(data[2:4].strip(b"\0"))
    if order is None or layout is None:
        return []
    offset, count, entry = (struct.Struct(order + fields) for fields in layout)
    return list(_File(data, order, offset, count, entry).directories())


@dataclass(frozen=True)
class _File:
    """Reads image directories until one cannot be read."""

    data: bytes
    order: str
    offset: struct.Struct
    count: struct.Struct
    entry: struct.Struct
    seen: set[int] = field(default_factory=set)

    def directories(self) -> Iterator[_Directory]:
        at, page = self._number(self.offset, self.offset.size), 0
        while (found := self._directory(at, page)) is not None:
            yield found
            for place in found.tags.get(_SUB_DIRECTORIES, ()):
                if (belonging := self._directory(place, None)) is not None:
                    yield belonging
            at, page = found.following, page + 1

    def _directory(self, at: int, page: int | None) -> _Directory | None:
        if at == 0 or at in self.seen or len(self.seen) == _MOST_DIRECTORIES:
            return None
        self.seen.add(at)
        start, number = at + self.count.size, self._number(self.count, at)
        end = start + number * self.entry.size
        if number > _MOST_TAGS or end > len(self.data):
            return None
        tags = {
            tag: self._values(kind, number, stored)
            for tag, kind, number, stored in self.entry.iter_unpack(self.data[start:end])
            if tag in _WANTED
        }
        return _Directory(page, tags, self._number(self.offset, end))

    def _values(self, kind: int, number: int, stored: bytes) -> tuple[int, ...]:
        """The values of a tag, at most _MOST_VALUES; `stored` holds the values or their offset."""
        if kind not in _VALUES:
            return ()
        values = struct.Struct(f"{self.order}{min(number, _MOST_VALUES)}{_VALUES[kind]}")
        place = self.offset.unpack(stored)[0]
        found = stored[: values.size] if values.size <= len(stored) else self.data[place : place + values.size]
        return values.unpack(found) if len(found) == values.size else ()

    def _number(self, how: struct.Struct, at: int) -> int:
        """The number at an offset; 0 beyond the end of the file."""
        return how.unpack_from(self.data, at)[0] if at + how.size <= len(self.data) else 0
