"""Files of every kind that a corpus may hold, good, bad and malicious. All of them are made here.

A file's name starts with the status that labelling must give it: `ok/…`, `unreadable/…` or `too_large/…`.
"""

from __future__ import annotations

from functools import lru_cache

from hostile_jpegs import jpegs
from hostile_others import not_images, other_images
from hostile_pngs import pngs

MAX_PIXELS = 10_000_000
"""What `too_large/…` is to be labelled with; everything else is far below."""


@lru_cache
def hostile_files() -> dict[str, bytes]:
    """Contents by name; names are relative paths that any file system takes."""
    return {**jpegs(), **pngs(), **other_images(), **not_images()}


def expected_status(name: str) -> str:
    return name.partition("/")[0]
