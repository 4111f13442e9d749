"""Files of every kind that a corpus may hold, good, bad and malicious. All of them are made here.

A file's name starts with the status that labelling must give it, with --faces none: `ok/…`, `no_face/…`,
`unreadable/…` or `too_large/…`.
"""

from __future__ import annotations

from functools import lru_cache

from hostile_jpegs import jpegs
from hostile_others import not_images, other_images
from hostile_pngs import pngs
from picture import encoded
from PIL import Image

MAX_PIXELS = 10_000_000
"""The limit that `too_large/…` exceeds; all other files are far below it."""

BLANK = {
    "ok/jpeg/1 x 1.jpg",
    "ok/jpeg/2000 x 2000 progressive.jpg",
    "ok/png/all clear.png",
    "ok/png/1 x 1.png",
    "ok/png/many chunks.png",
    "ok/png/claims 2 GB of pixels.png",
    "ok/tif/floats without end.tif",
}
"""Valid images that show nothing."""


@lru_cache
def hostile_files() -> dict[str, bytes]:
    """Contents by name; names are relative paths that any file system allows."""
    found = {**jpegs(), **pngs(), **other_images(), **not_images()}
    seen = {f"no_face/{name[3:]}" if name in BLANK else name: data for name, data in found.items()}
    return seen | _blank()


def _blank() -> dict[str, bytes]:
    return {
        f"no_face/{colour}.{kind.lower()}": encoded(Image.new("RGB", (90, 60), colour), kind)
        for colour in ("black", "white", "olive")
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
    }


def expected_status(name: str) -> str:
    return name.partition("/")[0]
