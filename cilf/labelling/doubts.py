"""What speaks against the options of a run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cilf import schema
from cilf.config import LabelOptions
from cilf.images.decode import DecodeError, read
from cilf.images.faces import confirmed, look
from cilf.images.fetch import fetch
from cilf.labelling.label_files import reading
from cilf.labelling.progress import Progress
from cilf.own_process import prepare
from cilf.storage import Location, files
from cilf.words import counted

_THREADS = 32
_SAMPLE, _MOST_BYTES = 32, 8_000_000
_PATIENCE_S = 30
"""Seconds to wait for the answer once everything is labelled."""
_LOOK = 448
"""Longer side, pixels, at which faces are looked for."""
_LARGE = 0.4
"""Side of a face, as a share of the shorter side of its image, from which the image may be a crop of it: 90 % of
FairFace's crops, which are the widest, and one in 24 photographs."""


def without_thumbnails(labels: Location) -> str | None:
    """What to say where --thumbnails is new and objects are labelled already; None where all have theirs.

    Only the ends of the label files are read.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        rows = sum(threads.map(_rows_without_thumbnails, files(labels, ".parquet")))
    if not rows:
        return None
    return f"{counted(rows, 'object')} labelled before without --thumbnails get none: --relabel makes them"


def _rows_without_thumbnails(file: Location) -> int:
    with reading(file), file.fs.open(file.path, "rb") as opened:
        footer = pq.ParquetFile(opened)
        return 0 if schema.THUMBNAILS.name in footer.schema_arrow.names else footer.metadata.num_rows


@contextmanager
def looked_at(rows: pa.Table, options: LabelOptions, progress: Progress) -> Iterator[None]:
    """While the context lasts, look at a few objects with --faces none, and warn where they are no crops of faces.

    In a worker of Ray: an object that kills whoever decodes it is not to end the run.

    Args:
        rows: schema.MANIFEST; those with the smallest ids are looked at, which are as good as drawn.
    """
    import ray

    if options.faces != "none":
        yield
        return
    few = rows.select(["id", "uri", "bytes"]).take(np.argsort(rows["id"].to_numpy(), kind="stable")[:_SAMPLE])
    answer = ray.remote(num_cpus=0, max_retries=0)(faceless).remote(few, options)

    def tell() -> None:
        with suppress(Exception):  # It is the labelling's to meet what is wrong with objects and machines.
            if doubt := ray.get(answer):
                progress.warn(doubt)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    yield
    thread.join(_PATIENCE_S)


def faceless(rows: pa.Table, options: LabelOptions) -> str | None:
    """What to say where --faces none takes photographs for faces; None where most of these images are crops."""
    prepare()
    wanted = [row for row in rows.to_pylist() if (row["bytes"] or 0) <= _MOST_BYTES]
    answers = fetch([row["uri"] for row in wanted], [row["bytes"] for row in wanted], _MOST_BYTES)
    seen = [_shows_a_large_face(data, options.max_pixels) for data in answers if isinstance(data, bytes)]
    without, images = seen.count(False), len(seen) - seen.count(None)
    if 2 * without <= images:
        return None
    return (
        f"{without} of {counted(images, 'image')} looked at show no face that fills them. With --faces none each whole "
        "image is taken for one face, and an age is given to whatever it shows; --faces detect finds the faces"
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
