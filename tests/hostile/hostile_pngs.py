"""PNG files: all colour types and depths, and damaged files. Most are written chunk by chunk, as Pillow does not write
every kind."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from picture import HEIGHT, WIDTH, cut, encoded, flipped, picture
from PIL import Image, ImageCms, PngImagePlugin

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
_NOTHING = zlib.compress(b"\0" * (HEIGHT * (1 + 3 * WIDTH)))
"""The pixels of a black picture."""
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by colour type
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def png(colour: int, depth: int, interlaced: bool = False, extra: bytes = b"") -> bytes:
    """The picture in any kind of PNG; `extra` are chunks before the pixels."""
    modes = {0: "L", 2: "RGB", 3: "L", 4: "LA", 6: "RGBA"}
    values = np.asarray(picture(modes[colour])).reshape(HEIGHT, WIDTH, _SAMPLES[colour])
    grids = [values[y::down, x::right] for y, x, down, right in _ADAM7] if interlaced else [values]
    rows = [row for grid in grids if grid.size for row in grid]
    data = b"".join(b"\0" + _packed(row.reshape(-1), depth) for row in rows)
    palette = chunk(b"PLTE", bytes(255 * n // (2**depth - 1) for n in range(2**depth) for _ in range(3)))
    before = (palette if colour == 3 else b"") + extra
    pixels = chunk(b"IDAT", zlib.compress(data))
    return _SIGNATURE + header(WIDTH, HEIGHT, depth, colour, int(interlaced)) + before + pixels + _END


def _packed(samples: np.ndarray, depth: int) -> bytes:
    if depth == 16:
        return (samples.astype(">u2") * 257).tobytes()
    if depth == 8:
        return samples.tobytes()
    bits = np.unpackbits(samples[:, None], axis=1)[:, :depth]
    return np.packbits(bits.reshape(-1)).tobytes()


def pngs() -> dict[str, bytes]:
    return {**_ok(), **_unreadable(), **_too_large()}


def _ok() -> dict[str, bytes]:
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    names = {0: "grey", 2: "rgb", 3: "palette", 4: "grey and alpha", 6: "rgb and alpha"}
    every = {
        f"{names[colour]} of {depth} bits{' interlaced' * interlaced}": png(colour, depth, interlaced)
        for colour in names
        for depth in depths[colour]
        for interlaced in (False, True)
    }
    plain = encoded(picture(), "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "ä" * 10_000, zip=True)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = {
        **every,
        "palette with alpha": png(3, 8, extra=chunk(b"tRNS", bytes(range(256)))),
        "palette with one clear colour": encoded(picture("P"), "PNG", transparency=3),
        "grey with a clear level": png(0, 8, extra=chunk(b"tRNS", b"\0\x80")),
        "rgb with a clear colour": png(2, 8, extra=chunk(b"tRNS", b"\0\xff\0\xff\0\xff")),
        "all clear": encoded(Image.new("RGBA", (40, 30)), "PNG"),
        "exif orientation 6": encoded(picture(), "PNG", exif=exif),
        "text": encoded(picture(), "PNG", pnginfo=text),
        "icc profile": encoded(picture(), "PNG", icc_profile=profile),
        "icc profile of noise": encoded(picture(), "PNG", icc_profile=bytes(range(256))),
        "animated": encoded(picture(), "PNG", save_all=True, append_images=[picture("RGBA")]),
        "gamma of 0": png(2, 8, extra=chunk(b"gAMA", bytes(4))),
        "unknown chunk": png(2, 8, extra=chunk(b"juNk", b"x" * 5000)),
        "trailing bytes": plain + b"PK\x03\x04",
        "without its end": plain.removesuffix(_END),
        "1 x 1": encoded(picture("RGBA", 1, 1), "PNG"),
        "1 x 10000": encoded(picture("L", 1, 10_000), "PNG"),
        "10000 x 1": encoded(picture("P", 10_000, 1), "PNG"),
        "many chunks": _many_chunks(),
        "wrong crc of the pixels": flipped(plain, -14),
        "claims 2 GB of pixels": _SIGNATURE + header(WIDTH, HEIGHT) + struct.pack(">I", 2**31 - 1) + b"IDAT" + _NOTHING,
    }
    return {f"ok/png/{name}.png": data for name, data in found.items()} | {"ok/png/wrong extension.jpg": plain}


def _many_chunks() -> bytes:
    """Chunks with one byte of pixels each."""
    return _SIGNATURE + header(WIDTH, HEIGHT) + b"".join(chunk(b"IDAT", bytes([byte])) for byte in _NOTHING) + _END


def _unreadable() -> dict[str, bytes]:
    plain = encoded(picture(), "PNG")
    whole = header(WIDTH, HEIGHT)
    found = {
        **{f"cut at {where}": data for where, data in cut(plain, 10).items()},
        "signature only": _SIGNATURE,
        "header only": _SIGNATURE + whole,
        "no pixels": _SIGNATURE + whole + _END,
        "pixels of noise": _SIGNATURE + whole + chunk(b"IDAT", bytes(range(256)) * 8) + _END,
        "too few pixels": _SIGNATURE + whole + chunk(b"IDAT", zlib.compress(bytes(100))) + _END,
        "wrong crc of the header": flipped(plain, 30),
        "damaged pixels": flipped(plain, len(plain) // 2),
        "0 x 0": _SIGNATURE + header(0, 0) + chunk(b"IDAT", _NOTHING) + _END,
        "depth of 3": _SIGNATURE + header(WIDTH, HEIGHT, depth=3) + chunk(b"IDAT", _NOTHING) + _END,
        "colour type 5": _SIGNATURE + header(WIDTH, HEIGHT, colour=5) + chunk(b"IDAT", _NOTHING) + _END,
        "filter of 9": _SIGNATURE + whole + chunk(b"IDAT", zlib.compress(b"\x09" * (HEIGHT * (1 + 3 * WIDTH)))) + _END,
        "claims 3000 x 3000": _SIGNATURE + header(3000, 3000) + chunk(b"IDAT", _NOTHING) + _END,
        "a text of 20 MB": png(2, 8, extra=chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000)))),
        "newlines translated": plain.replace(b"\r\n", b"\n"),
    }
    return {f"unreadable/png/{name}.png": data for name, data in found.items()}


def _too_large() -> dict[str, bytes]:
    rows = zlib.compress(bytes(30_000 * (1 + 30_000 // 8)), 1)
    found = {
        "30000 x 30000": _SIGNATURE + header(30_000, 30_000, 1, 0) + chunk(b"IDAT", rows) + _END,
        "claims 2147483647 x 2147483647": _SIGNATURE + header(2**31 - 1, 2**31 - 1) + _END,
        "claims 100000 x 101": _SIGNATURE + header(100_000, 101) + _END,
        "claims 4000 x 4000 rgb of 16 bits": _SIGNATURE + header(4000, 4000, 16) + chunk(b"IDAT", b"") + _END,
    }
    return {f"too_large/png/{name}.png": data for name, data in found.items()}
