"""The brands at the beginning of a file of the MP4 family: the major one, and those that it is compatible with."""

from __future__ import annotations

_CODED = {
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
    *(b"avci", b"avcs", b"vvic", b"vvis", b"evbi", b"evbs", b"evmi", b"evms"),
    *(b"jpeg", b"jpgs", b"j2ki", b"j2is"),
}
"""Brands of HEIF that say how the picture is coded, which is never as AVIF."""
_CONTAINERS = {
    *(b"mif1", b"mif2", b"mif3", b"msf1", b"miaf", b"1pic", b"MA1A", b"MA1B"),
    *(b"MiAC", b"MiCm", b"MiHA", b"MiHB", b"MiHE", b"MiPr", b"unif"),
}
"""Brands of HEIF that leave open how the picture is coded."""
_AVIF = (b"avif", b"avis")
_READ = 1000
"""Bytes in which brands are looked for."""


def kind(data: bytes) -> str | None:
    """What a file of the MP4 family is, in words; None of an AVIF and of any other file."""
    major, *compatible = _brands(data) or [b""]
    if not major or _avif(data):
        return None
    if major == b"crx ":
        return "a raw camera file (CR3)"
    if (_CODED | _CONTAINERS).intersection([major, *compatible]):
        return "HEIF (HEIC)"
    return "a video or sound (MP4 or QuickTime)"


def as_avif(data: bytes) -> bytes:
    """An AVIF with a major brand that says so, as Pillow wants it; any other file as it is."""
    brand = _avif(data)
    return data[:8] + brand + data[12:] if brand else data


def _avif(data: bytes) -> bytes | None:
    """The brand that makes a file an AVIF, its major one where that is one; None of any other file."""
    brands = _brands(data)
    if not brands or brands[0] in _CODED or brands[0] == b"crx ":
        return None
    return next((brand for brand in (brands[0], *_AVIF) if brand in _AVIF and brand in brands), None)


def _brands(data: bytes) -> list[bytes]:
    """The major one first; none of other files."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4], "big"), _READ)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
