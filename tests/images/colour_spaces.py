"""RGB colour profiles, and pictures converted to their colour spaces."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Space(NamedTuple):
    """An RGB colour space."""

    xyz: Sequence[Sequence[float]]
    """X, Y and Z (rows) of the three primaries under D50, as in profiles."""
    gamma: float | None
    """None: the sRGB curve."""


SRGB = Space(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]], None
)
DISPLAY_P3 = Space([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]], None)
ADOBE_RGB = Space(
    [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197], [0.0194811, 0.0608902, 0.7448387]],
    2.2,
)


def shown_in(space: Space, picture_HWC: np.ndarray) -> np.ndarray:
    """Converts a picture, uint8, from sRGB to a colour space, uint8, so that it looks the same."""
    levels = picture_HWC / 255
    light = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ np.array(SRGB.xyz).T @ np.linalg.inv(space.xyz).T, 0, 1)
    if space.gamma is None:
        levels = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    else:
        levels = light ** (1 / space.gamma)
    return np.rint(255 * levels).astype(np.uint8)


def profile_of(space: Space, padding: int = 0) -> bytes:
    """An ICC profile, version 2, whose text is longer by `padding` bytes."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * (space.gamma or 0))) + b"\0\0"
    if space.gamma is None:
        curve = b"para\0\0\0\0\0\3\0\0" + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"some\0".ljust(83, b"\0"),
        b"cprt": b"text\0\0\0\0none" + bytes(4 + padding),
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(0.9642, 1, 0.8249),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    for name, light in zip((b"rXYZ", b"gXYZ", b"bXYZ"), np.transpose(space.xyz), strict=True):
        tags[name] = b"XYZ \0\0\0\0" + _fixed(*light)
    start = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header = header.ljust(36, b"\0") + b"acsp"
    return header.ljust(68, b"\0") + _fixed(0.9642, 1, 0.8249).ljust(60, b"\0") + table + body


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(65536 * number)) for number in numbers)
