"""Image files of the other kinds, and files that are not images."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile

import numpy as np
import pillow_heif
from hostile_pngs import pngs
from picture import HEIGHT, WIDTH, cut, encoded, flipped, picture
from PIL import Image, features


def other_images() -> dict[str, bytes]:
    kinds = {"webp": _webp(), "gif": _gif(), "bmp": _bmp(), "tif": _tiff(), "ico": _ico(), "jp2": _jpeg2000()}
    kinds["heic"] = _heic()
    if features.check("avif"):
        kinds["avif"] = _avif()
    kinds["ppm"] = {
        "ok/plain": encoded(picture(), "PPM"),
        "ok/grey of 16 bits": b"P5 2 2 65535\n" + bytes(range(8)),
        "unreadable/cut": encoded(picture(), "PPM")[:900],
        "too_large/claims 99999999 x 99999999": b"P6 99999999 99999999 255\n",
    }
    return {
        f"{status}/{kind}/{name}.{kind}": data
        for kind, files in kinds.items()
        for (status, _, name), data in ((key.partition("/"), data) for key, data in files.items())
    }


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _webp() -> dict[str, bytes]:
    lossy, lossless = encoded(picture(), "WEBP"), encoded(picture(), "WEBP", lossless=True)
    size = struct.pack("<I", (16_383 - 1) | (16_383 - 1) << 14)
    return {
        "ok/lossy": lossy,
        "ok/lossless": lossless,
        "ok/lossy with alpha": encoded(picture("RGBA"), "WEBP"),
        "ok/lossless with alpha": encoded(picture("RGBA"), "WEBP", lossless=True),
        "ok/animated": encoded(picture(), "WEBP", save_all=True, append_images=[picture("RGBA"), picture("L")]),
        "ok/exif orientation 6": encoded(picture(), "WEBP", exif=_exif(6)),
        "ok/trailing bytes": lossy + bytes(1000),
        **{f"unreadable/cut at {where}": data for where, data in cut(lossy, 5).items()},
        **{f"unreadable/lossless cut at {where}": data for where, data in cut(lossless, 3).items()},
        "unreadable/signature only": b"RIFF\x24\0\0\0WEBPVP8 ",
        "unreadable/damaged start": flipped(lossy, 23),
        "unreadable/a wave file": b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
        "too_large/claims 16383 x 16383": lossless[:21] + size + lossless[25:],
    }


def _gif() -> dict[str, bytes]:
    plain = encoded(picture("P"), "GIF")
    return {
        "ok/plain": plain,
        "ok/animated": encoded(picture("P"), "GIF", save_all=True, append_images=[picture("L"), picture()], loop=0),
        "ok/transparent": encoded(picture("P"), "GIF", transparency=5),
        "ok/interlaced": encoded(picture("P"), "GIF", interlace=True),
        "ok/comment": encoded(picture("P"), "GIF", comment=b"<script>" * 500),
        "ok/the version of 1987": b"GIF87a" + plain[6:],
        "ok/trailing bytes": plain + b"more",
        "ok/no end": plain[:-1],
        **{f"unreadable/cut at {where}": data for where, data in cut(plain, 5).items()},
        "unreadable/signature only": b"GIF89a",
        "unreadable/no frame": plain[:13] + b";",
        "too_large/claims 65535 x 65535": b"GIF89a" + b"\xff\xff\xff\xff" + plain[10:],
    }


def _bmp() -> dict[str, bytes]:
    plain = encoded(picture(), "BMP")
    upside_down = plain[:22] + struct.pack("<i", -HEIGHT) + plain[26:]
    return {
        "ok/plain": plain,
        "ok/palette": encoded(picture("P"), "BMP"),
        "ok/grey": encoded(picture("L"), "BMP"),
        "ok/1 bit": encoded(picture("1"), "BMP"),
        "ok/alpha": encoded(picture("RGBA"), "BMP"),
        "ok/upside down": upside_down,
        "ok/trailing bytes": plain + b"more",
        **{f"unreadable/cut at {where}": data for where, data in cut(plain, 4).items()},
        "unreadable/signature only": b"BM",
        "unreadable/3 bits": plain[:28] + b"\x03" + plain[29:],
        "unreadable/unknown compression": plain[:30] + b"\x63" + plain[31:],
        "too_large/claims 30000 x 30000": plain[:18] + struct.pack("<ii", 30_000, 30_000) + plain[26:],
    }


def _tiff() -> dict[str, bytes]:
    plain, sixteen = encoded(picture(), "TIFF"), np.asarray(picture("L")).astype(np.uint16) * 257
    values = np.asarray(picture("F")) / 255
    holes = np.where(values > 0.5, np.nan, values).astype(np.float32)
    packed = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    return {
        "ok/plain": plain,
        **{f"ok/{how}": encoded(picture(), "TIFF", compression=how) for how in packed},
        "ok/fax": encoded(picture("1"), "TIFF", compression="group4"),
        "ok/palette": encoded(picture("P"), "TIFF"),
        "ok/alpha": encoded(picture("RGBA"), "TIFF"),
        "ok/cmyk": encoded(picture("CMYK"), "TIFF"),
        "ok/lab": encoded(picture("LAB"), "TIFF"),
        "ok/grey of 16 bits": encoded(Image.fromarray(sixteen), "TIFF"),
        "ok/grey of 32 bits": encoded(Image.fromarray(sixteen.astype(np.int32)), "TIFF"),
        "ok/floats": encoded(Image.fromarray(values.astype(np.float32)), "TIFF"),
        "ok/floats with holes": encoded(Image.fromarray(holes), "TIFF"),
        "ok/floats without end": encoded(Image.fromarray(np.full((9, 9), np.inf, np.float32)), "TIFF"),
        "ok/tiled": _tiled(),
        "ok/several pages": encoded(picture(), "TIFF", save_all=True, append_images=[picture("L"), picture("1")]),
        "ok/big tiff": encoded(picture(), "TIFF", big_tiff=True),
        **{f"ok/orientation {number}": encoded(picture(), "TIFF", exif=_exif(number)) for number in (2, 3, 6, 8)},
        **{f"unreadable/cut at {where}": data for where, data in cut(plain, 4).items()},
        "unreadable/signature only": b"II*\0",
        "unreadable/a directory beyond the end": b"II*\0\xff\xff\xff\x7f" + plain[8:],
        "unreadable/a directory of nothing": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
        "too_large/claims 100000 x 100000": _tiled(100_000, 100_000),
    }


def _tiled(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """One grey tile of 128 x 128, of which the picture is a part; the header claims `width` x `height`."""
    tile = np.zeros((128, 128), np.uint8)
    tile[:HEIGHT, :WIDTH] = np.asarray(picture("L"))
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 322: 128, 323: 128, 324: 0, 325: tile.size}
    tags[324] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + tile.tobytes()


def _ico() -> dict[str, bytes]:
    def icon(content: bytes) -> bytes:
        return struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(content), 22) + content

    return {
        "ok/of png": encoded(picture("RGBA"), "ICO", sizes=[(16, 16), (48, 48)]),
        "ok/of bmp": encoded(picture("RGBA"), "ICO", sizes=[(32, 32)], bitmap_format="bmp"),
        "unreadable/empty": struct.pack("<HHH", 0, 1, 0),
        "unreadable/cut": encoded(picture("RGBA"), "ICO", sizes=[(48, 48)])[:300],
        "unreadable/of noise": icon(bytes(range(256)) * 8),
        "too_large/of a bomb": icon(pngs()["too_large/png/30000 x 30000.png"]),
    }


def _jpeg2000() -> dict[str, bytes]:
    plain = encoded(picture(), "JPEG2000")
    return {"ok/plain": plain, "unreadable/cut": plain[: len(plain) // 2], "unreadable/signature only": plain[:12]}


def _avif() -> dict[str, bytes]:
    plain = encoded(picture(), "AVIF")
    return {
        "ok/plain": plain,
        "ok/alpha": encoded(picture("RGBA"), "AVIF"),
        "ok/animated": encoded(picture(), "AVIF", save_all=True, append_images=[picture("RGBA")]),
        "ok/exif orientation 6": encoded(picture(), "AVIF", exif=_exif(6)),
        **{f"unreadable/cut at {where}": data for where, data in cut(plain, 4).items()},
    }


def _heic() -> dict[str, bytes]:
    def saved(*images: Image.Image, **options: object) -> bytes:
        held, buffer = pillow_heif.HeifFile(), io.BytesIO()
        for image in images:
            held.add_from_pillow(image)
        held.save(buffer, **options)
        return buffer.getvalue()

    def claiming(data: bytes, side: int) -> bytes:
        head, *sizes = data.split(b"ispe")
        return b"ispe".join([head, *(size[:4] + struct.pack(">LL", side, side) + size[12:] for size in sizes)])

    plain = saved(picture())
    return {
        "ok/plain": plain,
        "ok/grey": saved(picture("L")),
        "ok/alpha": saved(picture("RGBA")),
        "ok/exif orientation 6": saved(picture(), exif=_exif(6).tobytes()),
        "ok/three images": saved(picture("L"), picture("RGBA"), picture(), primary_index=2),
        "ok/trailing bytes": plain + bytes(1000),
        **{f"unreadable/cut at {where}": data for where, data in cut(plain, 5).items()},
        "unreadable/claims 8 x 8": claiming(plain, 8),
        "too_large/claims 99999 x 99999": claiming(plain, 99_999),
    }


def not_images() -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("photo.jpg", encoded(picture(), "JPEG"))
    noise = np.random.default_rng(0).bytes
    heif = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)
    found = {
        "empty.jpg": b"",
        "one byte.jpg": b"\xff",
        "one newline": b"\n",
        "page.html": b"<!DOCTYPE html><html><body>404</body></html>",
        "error.xml": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><rect width='9' height='9'/></svg>",
        "archive.zip": archive.getvalue(),
        "packed.jpg.gz": gzip.compress(encoded(picture(), "JPEG")),
        "archive.tar": b"photo.jpg".ljust(257, b"\0") + b"ustar\0" + bytes(800),
        "paper.pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF",
        "figure.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n%%EOF\n",
        "program": b"\x7fELF\x02\x01\x01" + bytes(200),
        "library.dll": b"MZ" + bytes(62) + b"PE\0\0" + bytes(200),
        "database": b"SQLite format 3\0" + bytes(1000),
        "table.parquet": b"PAR1" + bytes(100) + b"PAR1",
        "pickled.jpg": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
        "film.mp4": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(500),
        "photo.heic": heif,
        "song.mp3": b"ID3\x04" + bytes(500),
        "words.txt": b"no image\n" * 50,
        "words in utf-16.txt": "kein Bild".encode("utf-16"),
        "numbers.json": b'{"image": null}',
        "zeros.jpg": bytes(5000),
        "ones.jpg": b"\xff" * 5000,
        "bitmap.xbm": b"#define a_width 8\n#define a_height 8\nstatic char a_bits[] = {1,2,3,4,5,6,7,8};",
        "map.xpm": b'/* XPM */\nstatic char * a[] = {\n"1 1 1 1",\n"a c #ffffff",\n"a"};',
        "picture.tga": bytes([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 8, 0, 24, 0]) + bytes(192),
        "picture.pcx": encoded(picture(), "PCX"),
        **{f"noise {number}.jpg": noise(3000) for number in range(10)},
        **{f"noise {number} after a start.jpg": b"\xff\xd8\xff\xe0" + noise(3000) for number in range(5)},
    }
    return {f"unreadable/none/{name}": data for name, data in found.items()}
