"""JPEG files: all variants in use, and damaged ones."""

from __future__ import annotations

import struct

from picture import cut, encoded, flipped, picture
from PIL import Image, ImageChops

_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0%s\0\0\0\0\0\0"
_XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def segment(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(payload) + 2) + payload


def after_start(data: bytes, inserted: bytes) -> bytes:
    return data[:2] + inserted + data[2:]


def jpegs() -> dict[str, bytes]:
    return {**_ok(), **_unreadable(), **_too_large()}


def _ok() -> dict[str, bytes]:
    plain = encoded(picture(), "JPEG", quality=90)
    exif = {
        f"exif orientation {value}": after_start(plain, segment(0xE1, _EXIF % struct.pack("<H", value)))
        for value in (*range(10), 65535)
    }
    thumbnail = encoded(picture(width=32, height=24), "JPEG")
    found = {
        **exif,
        "baseline": plain,
        "grey": encoded(picture("L"), "JPEG"),
        "progressive": encoded(picture(), "JPEG", progressive=True),
        "progressive grey": encoded(picture("L"), "JPEG", progressive=True),
        "cmyk": encoded(picture("CMYK"), "JPEG"),
        "cmyk progressive": encoded(picture("CMYK"), "JPEG", progressive=True),
        "ycck": _ycck(),
        "rgb inside": encoded(picture(), "JPEG", keep_rgb=True),
        "4-4-4": encoded(picture(), "JPEG", subsampling="4:4:4"),
        "4-2-2": encoded(picture(), "JPEG", subsampling="4:2:2"),
        "4-1-1": encoded(picture(), "JPEG", subsampling="4:1:1"),
        "quality 1": encoded(picture(), "JPEG", quality=1),
        "quality 100": encoded(picture(), "JPEG", quality=100),
        "optimised": encoded(picture(), "JPEG", optimize=True),
        "restart markers": encoded(picture(), "JPEG", restart_marker_blocks=1),
        "restart markers lost": _without_restarts(encoded(picture(), "JPEG", restart_marker_blocks=1)),
        "exif broken": after_start(plain, segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)),
        "exif empty": after_start(plain, segment(0xE1, b"Exif\0\0")),
        "exif in a loop": after_start(plain, segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0")),
        "exif with a thumbnail": after_start(plain, segment(0xE1, _EXIF % b"\x06\0" + thumbnail)),
        "thumbnail before exif": after_start(
            plain, segment(0xED, b"Photoshop 3.0\0" + thumbnail) + segment(0xE1, _EXIF % b"\x06\0")
        ),
        "xmp orientation": after_start(plain, segment(0xE1, _XMP)),
        "icc of 300 kB": encoded(picture(), "JPEG", icc_profile=bytes(300_000)),
        "icc of noise": encoded(picture(), "JPEG", icc_profile=bytes(range(256)) * 4),
        "comments": after_start(plain, segment(0xFE, b"<!-- \xff\xd9 -->") * 50),
        "no jfif": plain[:2] + plain[20:],
        "fill bytes": after_start(plain, b"\xff" * 64),
        "trailing text": plain + b"<html></html>",
        "trailing zeros": plain + bytes(100_000),
        "trailing jpeg": plain + thumbnail,
        "trailing cut jpeg": plain + thumbnail[:-100],
        "several pictures": encoded(picture(), "MPO", save_all=True, append_images=[picture("L")]),
        "damaged in the midst": flipped(plain, len(plain) * 2 // 3, 0x10),
        "ends early but ends": plain[: len(plain) * 3 // 4] + b"\xff\xd9",
        "1 x 1": encoded(picture(width=1, height=1), "JPEG"),
        "1 x 10000": encoded(picture(width=1, height=10_000), "JPEG"),
        "10000 x 1": encoded(picture(width=10_000, height=1), "JPEG"),
        "65500 x 2": encoded(picture(width=65_500, height=2), "JPEG"),
        "2000 x 2000 progressive": encoded(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True),
    }
    named = {f"ok/jpeg/{name}.jpg": data for name, data in found.items()}
    wrong = ("png", "gif", "txt", "JPG", "jpeg.html", "mp4", "")
    return named | {f"ok/jpeg/wrong extension.{extension}".rstrip("."): plain for extension in wrong}


def _ycck() -> bytes:
    """A YCCK file. Pillow writes only CMYK, inverted, so its bands are converted to YCC and K first, and the marker
    changed."""
    cyan, magenta, yellow, black = picture("CMYK").split()
    colours = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr")
    bands = (*(ImageChops.invert(band) for band in colours.split()), black)
    data = encoded(Image.merge("CMYK", bands), "JPEG")
    return data.replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\x02")


def _without_restarts(data: bytes) -> bytes:
    return data.replace(b"\xff\xd3", b"\x12\x34")


def _unreadable() -> dict[str, bytes]:
    plain, progressive = encoded(picture(), "JPEG", quality=90), encoded(picture(), "JPEG", progressive=True)
    frame = plain.index(b"\xff\xc0")
    found = {
        **{f"cut at {where}": data for where, data in cut(plain, 20).items()},
        **{f"progressive cut at {where}": data for where, data in cut(progressive, 10).items()},
        **{f"cmyk cut at {where}": data for where, data in cut(encoded(picture("CMYK"), "JPEG"), 4).items()},
        "without its end": plain[:-2],
        "without half its end": plain[:-1],
        "starts only": b"\xff\xd8\xff",
        "starts and ends": b"\xff\xd8\xff\xd9",
        "starts twice": plain[:2] + plain,
        "one byte late": b"\0" + plain,
        "no frame": plain.replace(b"\xff\xc0", b"\xff\xfe"),
        "two frames": plain[:frame] + plain[frame : frame + 19] + plain[frame:],
        "no pixels": plain[: frame + 5] + b"\0\0\0\0" + plain[frame + 9 :],
        "12 bits": plain[: frame + 4] + b"\x0c" + plain[frame + 5 :],
        "200 components": plain[: frame + 9] + b"\xc8" + plain[frame + 10 :],
        "sampling factors of 0": plain[: frame + 11] + b"\0" + plain[frame + 12 :],
        "lossless but baseline": plain.replace(b"\xff\xc0", b"\xff\xc3"),
        "no quantisation": plain.replace(b"\xff\xdb", b"\xff\xfe"),
        "no huffman tables, cut": plain.replace(b"\xff\xc4", b"\xff\xfe")[:-40],
        "a segment beyond the end": after_start(plain, b"\xff\xe5\xff\xff")[:-2],
        "claims 3000 x 3000": plain[: frame + 5] + struct.pack(">HH", 3000, 3000) + plain[frame + 9 : -2],
        "scans without end": _scans(20_000),
        "the text of one": plain.hex().encode(),
    }
    return {f"unreadable/jpeg/{name}.jpg": data for name, data in found.items()}


def _scans(number: int) -> bytes:
    """A progressive JPEG of 4 megapixels whose last, short scan is repeated many times."""
    data = encoded(Image.new("L", (2000, 2000)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * number + data[-2:]


def _too_large() -> dict[str, bytes]:
    plain = encoded(picture(), "JPEG")
    frame = plain.index(b"\xff\xc0")
    found = {
        "claims 65535 x 65535": plain[: frame + 5] + b"\xff\xff\xff\xff" + plain[frame + 9 :],
        "claims 65535 x 65535, cut": plain[: frame + 5] + b"\xff\xff\xff\xff" + plain[frame + 9 :][:-100],
        "claims 20000 x 20000": plain[: frame + 5] + struct.pack(">HH", 20_000, 20_000) + plain[frame + 9 :],
        "4000 x 4000": encoded(Image.new("L", (4000, 4000)), "JPEG"),
        "4000 x 4000 cmyk": encoded(Image.new("CMYK", (4000, 4000)), "JPEG"),
    }
    return {f"too_large/jpeg/{name}.jpg": data for name, data in found.items()}
