"""What speaks against the options of a run, told before it labels anything."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cilf.config import LabelOptions
from cilf.images.decode import DecodeError, read
from cilf.images.faces import confirmed, look
from cilf.images.fetch import fetch

_SAMPLE = 32
_LOOK = 448
"""Longer side, pixels, at which faces are looked for."""
_LARGE = 0.4
"""Side of a face, as a share of the shorter side of its image, from which the image may be a crop of it: 90 % of
FairFace's crops, which are the widest, and one in 24 photographs."""


def faceless(rows: pa.Table, options: LabelOptions) -> str | None:
    """What is to be said where --faces none takes whole photographs for faces; None where all is well.

    Args:
        rows: schema.MANIFEST; a few of them are looked at, those with the smallest ids, which are as good as drawn.
        options: of the run.
    """
    few = rows.take(np.argsort(rows["id"].to_numpy(), kind="stable")[:_SAMPLE])
    answers = fetch(few["uri"].to_pylist(), few["bytes"].to_pylist(), options.max_bytes)
    seen = [_shows_a_large_face(data, options.max_pixels) for data in answers if isinstance(data, bytes)]
    without, images = seen.count(False), len(seen) - seen.count(None)
    if 2 * without <= images:
        return None
    return (
        f"{without} of {images} images looked at show no face that fills them, and --faces none takes each whole image "
        "for one face: ages of such images mean nothing. --faces detect finds the faces in photographs"
    )


def _shows_a_large_face(data: bytes, max_pixels: int) -> bool | None:
    """By a quick look at a small version of an image; None where it cannot be read."""
    try:
        photograph = read(data, _LOOK, max_pixels)
    except DecodeError:
        return None
    width, height, image = photograph.width, photograph.height, photograph.upright
    seen = look(image, width, height, min(1.0, _LOOK / max(width, height)))
    faces = confirmed(image, seen, image.shape[1] / width)
    return bool(faces.sides_N.max(initial=0.0) >= _LARGE * min(width, height))
