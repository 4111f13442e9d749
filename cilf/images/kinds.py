"""Files that are no photographs, or photographs of a kind that is not read: what they are, told by their content.

Names and extensions of files count for nothing.
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
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x1a\x45\xdf\xa3": "a Matroska or WebM video",
    b"\0\0\x01\xba": "an MPEG video",
    b"version https://git-lfs": "a Git LFS pointer (`git lfs pull` fetches the file)",
}
"""What a file is by its first bytes."""

_QUICKTIME = (b"moov", b"mdat", b"wide", b"pnot")
_TEXT = 1000
"""Bytes in which a text says what it is."""


def not_read(data: bytes) -> str | None:
    """What kind of file this is, in words, if it is one of those that are not read; None if it may be a photograph."""
    kind = next((kind for beginning, kind in _BEGINNINGS.items() if data.startswith(beginning)), None)
    kind = kind or _boxes(data) or _text(data)
    if kind is None and (raw := raw_kind(data)):
        kind = _RAW.format(raw)
    return kind and f"{kind}, which is not read here"


def _boxes(data: bytes) -> str | None:
    """Of the family of MP4, and of RIFF."""
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "an AVI video"
    if data[4:8] in _QUICKTIME:
        return "a QuickTime video"
    return brands.kind(data)


def _text(data: bytes) -> str | None:
    start = data[:_TEXT].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not start.startswith(b"<"):
        return None
    if re.search(rb"<svg[\s>]", start):
        return "an SVG drawing"
    return "an HTML page" if re.search(rb"<!doctype html|<html|<head|<body", start) else "an XML document"
