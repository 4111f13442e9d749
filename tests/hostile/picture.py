"""The picture in the hostile files: smooth, coloured, and darker to the right and to the bottom."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 96, 72


def picture(mode: str = "RGB", width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    down, right = np.linspace(1, 0, height)[:, None], np.linspace(1, 0, width)[None]
    colours = np.stack([0.2 + 0.8 * down * right, 0.2 + 0.6 * down + 0 * right, 0.9 * right + 0 * down], axis=-1)
    image = Image.fromarray((255 * colours).astype(np.uint8))
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray((255 * np.broadcast_to(right, (height, width))).astype(np.uint8)))
    return image.quantize(64) if mode == "P" else image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def cut(data: bytes, parts: int) -> dict[str, bytes]:
    """A file that is cut off after each of `parts` equal parts of it except the last, by percentage."""
    return {f"{100 * part // parts:02d}%": data[: len(data) * part // parts] for part in range(1, parts)}


def flipped(data: bytes, at: int, bits: int = 0xFF) -> bytes:
    """A file with one byte changed; a negative `at` counts from the end."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]
