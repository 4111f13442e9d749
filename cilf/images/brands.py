"""The brands at the beginning of a file of the MP4 family: the major brand and the compatible brands."""

from __future__ import annotations

_CODED = {
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
    *(b"avci", b"avcs", b"vvic", b"vvis", b"evbi", b"evbs", b"evmi", b"evms"),
    *(b"jpeg", b"jpgs", b"j2ki", b"j2is"),
}
"""HEIF brands that specify how the picture is coded, which is never AVIF."""
_CONTAINERS = {
    *(b"mif1", b"mif2", b"mif3", b"msf1", b"miaf", b"1pic", b"MA1A", b"MA1B"),
    *(b"MiAC", b"MiCm", b"MiHA", b"MiHB", b"MiHE", b"MiPr", b"unif"),
}
"""HEIF brands that do not specify how the picture is coded."""
_OTHER_CODINGS = {
    **dict.fromkeys((b"avci", b"avcs"), "AVC"),
    **dict.fromkeys((b"vvic", b"vvis"), "VVC"),
    **dict.fromkeys((b"evbi", b"evbs", b"evmi", b"evms"), "EVC"),
    **dict.fromkeys((b"jpeg", b"jpgs"), "JPEG"),
    **dict.fromkeys((b"j2ki", b"j2is"), "JPEG 2000"),
}
"""Codings of HEIF other than HEVC, by brand. No decoder for them is installed."""
_AVIF = (b"avif", b"avis")
_READ = 1000
"""Number of bytes that are searched for brands."""


def kind(data: bytes) -> str | None:
    """Name the kind of a file of the MP4 family that is not read; None for AVIF, HEIC and any other file."""
    major = next(iter(_brands(data)), None)
    if major is None or _avif(data):
        return None
    if major == b"crx ":
        return "a raw camera file (CR3)"
    if is_heif(data):
        return f"HEIF coded as {_OTHER_CODINGS[major]}" if major in _OTHER_CODINGS else None
    return "a video or sound (MP4 or QuickTime)"


def is_heif(data: bytes) -> bool:
    """Whether a file is HEIF in the narrow sense, such as HEIC: pictures in an MP4 container, but no AVIF."""
    brands = _brands(data)
    return bool(brands) and brands[0] != b"crx " and not _avif(data) and bool((_CODED | _CONTAINERS) & {*brands})


def as_avif(data: bytes) -> bytes:
    """An AVIF with its major brand set to an AVIF brand, which Pillow requires; any other file unchanged."""
    brand = _avif(data)
    return data[:8] + brand + data[12:] if brand else data


def _avif(data: bytes) -> bytes | None:
    """The brand that makes a file an AVIF, preferably its major brand; None for any other file."""
    brands = _brands(data)
    if not brands or brands[0] in _CODED or brands[0] == b"crx ":
        return None
    return next((brand for brand in (brands[0], *_AVIF) if brand in _AVIF and brand in brands), None)


def _brands(data: bytes) -> list[bytes]:
    """The brands of a file, the major one first; empty for files of other families."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4], "big"), _READ)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
