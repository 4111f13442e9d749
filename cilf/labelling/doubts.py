"""Warnings about options of a run that do not suit its objects or the labels in OUTPUT."""

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
"""Longer side, in pixels, of the small version of an image in which faces are detected."""
_LARGE = 0.4
"""Smallest side of a face, as a share of the shorter side of its image, at which the image may be a crop of it. 90 % of
FairFace's crops, which are the widest, reach it, and one in 24 photographs."""


def without_thumbnails(labels: Location) -> str | None:
    """A warning about objects that were labelled without thumbnails; None if all labelled objects have theirs.

    Only the footers of the label files are read.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        rows = sum(threads.map(_rows_without_thumbnails, files(labels, ".parquet")))
    if not rows:
        return None
    return f"{counted(rows, 'object')} labelled earlier without --thumbnails will have none: add --relabel to make them"


def _rows_without_thumbnails(file: Location) -> int:
    with reading(file), file.fs.open(file.path, "rb") as opened:
        footer = pq.ParquetFile(opened)
        return 0 if schema.THUMBNAILS.name in footer.schema_arrow.names else footer.metadata.num_rows


@contextmanager
def looked_at(rows: pa.Table, options: LabelOptions, progress: Progress) -> Iterator[None]:
    """With --faces none, check a few objects while the context lasts, and warn if they are not crops of faces.

    The check runs in a Ray worker, so that an object that kills the process that decodes it does not end the run.

    Args:
        rows: schema.MANIFEST. The rows with the smallest ids are checked; ids are hashes, so this is a random sample.
    """
    import ray

    if options.faces != "none":
        yield
        return
    few = rows.select(["id", "uri", "bytes"]).take(np.argsort(rows["id"].to_numpy(), kind="stable")[:_SAMPLE])
    answer = ray.remote(num_cpus=0, max_retries=0)(faceless).remote(few, options)

    def tell() -> None:
        with suppress(Exception):  # Labelling itself reports problems with objects and machines.
            if doubt := ray.get(answer):
                progress.warn(doubt)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    yield
    thread.join(_PATIENCE_S)


def faceless(rows: pa.Table, options: LabelOptions) -> str | None:
    """A warning if --faces none treats photographs as faces; None if at least half of the images are crops."""
    prepare()
    wanted = [row for row in rows.to_pylist() if (row["bytes"] or 0) <= _MOST_BYTES]
    answers = fetch([row["uri"] for row in wanted], [row["bytes"] for row in wanted], _MOST_BYTES)
    seen = [_shows_a_large_face(data, options.max_pixels) for data in answers if isinstance(data, bytes)]
    without, images = seen.count(False), len(seen) - seen.count(None)
    if 2 * without <= images:
        return None
    return (
        f"{without} of {counted(images, 'image')} checked show no face that fills them. With --faces none each whole "
        "image counts as one face and gets an age, whatever it shows; use --faces detect to find the faces"
    )


def _shows_a_large_face(data: bytes, max_pixels: int) -> bool | None:
    """Whether detection in a small version of an image finds a large face; None if the image cannot be read."""
    try:
        photograph = read(data, _LOOK, max_pixels)
    except DecodeError:
        return None
    width, height, image = photograph.width, photograph.height, photograph.upright
    seen = look(image, width, height, min(1.0, _LOOK / max(width, height)))
    faces = confirmed(image, seen, image.shape[1] / width)
    return bool(faces.sides_N.max(initial=0.0) >= _LARGE * min(width, height))
