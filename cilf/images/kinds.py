"""Identifies files that are not photographs, or photographs in a format that is not read, by their content.

File names and extensions are ignored.
"""

from __future__ import annotations

import re

from cilf.images import brands
from cilf.images.tiff_pages import raw_kind

_RAW = "a raw camera file ({})"

_BEGINNINGS = {
    b"IIRO": _RAW.format("ORF"),
    b"IIRS": _RAW.format("ORF"),
    b"MMOR": _RAW.format("ORF"),
    b"IIU\0": _RAW.format("RW2"),
    b"II\x1a\0\0\0HEAPCCDR": _RAW.format("CRW"),
    b"FUJIFILMCCD-RAW": _RAW.format("RAF"),
    b"FOVb": _RAW.format("X3F"),
    b"\0MRM": _RAW.format("MRW"),
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"II\xbc": "JPEG XR",
    b"8BPS\0\x02": "a large Photoshop document (PSB)",
    b"v/1\x01": "OpenEXR",
    b"gimp xcf": "a GIMP document",
    b"%PDF-": "a PDF document",
    b"%!PS": "a PostScript document",
    b"PK\x03\x04": "a ZIP archive or an office document",
    b"\x1f\x8b\x08": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x1a\x45\xdf\xa3": "a Matroska or WebM video",
    b"\0\0\x01\xba": "an MPEG video",
    b"\0\0\x01\xb3": "an MPEG video",
    b"0&\xb2\x75\x8e\x66\xcf\x11": "a Windows Media video or sound (WMV or ASF)",
    b"FLV\x01": "a Flash video",
    b"OggS\0": "an Ogg video or sound",
    b".RMF\0\0\0": "a RealMedia video",
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01": "an MXF video",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old office document or a Thumbs.db (OLE)",
    b"{\\rtf": "an RTF document",
    b"AT&TFORM": "a DjVu document",
    b"version https://git-lfs": "a Git LFS pointer (`git lfs pull` fetches the file)",
}
"""First bytes of a file -> its kind."""

_QUICKTIME = (b"moov", b"mdat", b"pnot")
_PADDING, _MOST_PADDING = (b"free", b"skip", b"wide"), 16
"""Boxes that may precede the boxes that identify the file, and how many of them are skipped."""
_FEWEST_PACKETS, _MOST_PACKETS = 4, 16
"""Minimum and maximum number of packets that are checked at the beginning of an MPEG transport stream."""

_NOT_READ = "{}, which is not read here"
_UNKNOWN = "not an image in a format that is known here"
_TEXT = 1000
"""Number of bytes at the beginning of a text that are searched for its kind."""


def not_read(data: bytes) -> str | None:
    """The kind of a file that is not read, in words; None if the file may be a photograph."""
    kind = next((kind for beginning, kind in _BEGINNINGS.items() if data.startswith(beginning)), None)
    kind = kind or _boxes(data) or _text(data)
    if kind is None and (raw := raw_kind(data)):
        kind = _RAW.format(raw)
    return kind and _NOT_READ.format(kind)


def _boxes(data: bytes) -> str | None:
    """The kind of a file of the MP4 family or of RIFF that is not read; None for any other file."""
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "an AVI video"
    # A box whose length begins with the byte "P" would be implausibly long, and an image may begin with "P5 #moov".
    if data[4:8] in (*_QUICKTIME, *_PADDING) and data[:1] < b"P":
        behind = _behind_padding(data)
        return _boxes(behind) or ("HEIF behind other boxes" if brands.is_heif(behind) else "a QuickTime video")
    return brands.kind(data)


def _behind_padding(data: bytes) -> bytes:
    """The beginning of the first box that is not padding."""
    at = 0
    for _ in range(_MOST_PADDING):
        if data[at + 4 : at + 8] in _PADDING:
            at += max(8, int.from_bytes(data[at : at + 4], "big"))
    return b"" if data[at + 4 : at + 8] in (*_QUICKTIME, *_PADDING) else data[at : at + _TEXT]


def not_known(data: bytes) -> str:
    """The reason why Pillow finds no image in a file, in words."""
    return _NOT_READ.format("an MPEG video (transport stream)") if _is_transport_stream(data) else _UNKNOWN


def _is_transport_stream(data: bytes) -> bool:
    """Whether the data is packets of 188 bytes, or 192 in cameras' files, that all begin with `G` but not with `GG`.

    This test is weak, so it is applied only to files that Pillow cannot read.
    """
    for start, length in ((0, 188), (4, 192)):
        end = _MOST_PACKETS * length
        first, second = data[start:end:length], data[start + 1 : end : length]
        if len(second) >= _FEWEST_PACKETS and not first.strip(b"G") and b"G" not in second:
            return True
    return False


def _text(data: bytes) -> str | None:
    start = data[:_TEXT].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not start.startswith(b"<") or re.search(rb"[\0-\x08\x0e-\x1f]", start):
        return None
    if re.search(rb"<svg[\s>]", start):
        return "an SVG drawing"
    if re.search(rb"<!doctype html|<html|<head|<body", start):
        return "an HTML page"
    return "an XML document" if b">" in start else None
