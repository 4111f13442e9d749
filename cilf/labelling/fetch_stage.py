"""The first stage: a block of the manifest -> uint8 crops. A CPU task that never imports torch."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cilf import schema
from cilf.images.decode import Decoded, DecodeError, decode
from cilf.images.fetch import FetchError, fetch

_BYTES_AT_ONCE = 256_000_000  # encoded bytes a task holds; together with one decoded image, its memory
_GUESS = 4_000_000  # bytes of an object whose size the manifest does not tell


@dataclass(frozen=True)
class _Broken:
    """What stands for every row of a block that the stage itself failed on."""

    reason: str
    status: str = schema.BROKEN


_Outcome = Decoded | DecodeError | FetchError | _Broken


def fetch_decode(table: pa.Table, size: int, max_bytes: int, max_pixels: int) -> pa.Table:
    """Fetch and decode every object of a manifest block.

    Both in one task, so that encoded bytes never enter Ray's object store. Whatever happens to an object
    becomes its status and reason; an exception of our own becomes schema.BROKEN.

    Args:
        table: schema.MANIFEST and the user's own columns.
        size: S, side of a crop, pixels.
        max_bytes: larger objects are not fetched.
        max_pixels: larger images are not decoded.

    Returns:
        schema.FETCHED and the user's own columns; rows in the order of `table`.
    """
    outcomes: list[_Outcome] = []
    seconds: list[tuple[float, float]] = []
    try:
        for rows in _portions(table["bytes"].to_pylist(), max_bytes):
            part = table.slice(rows.start, len(rows))
            start = time.perf_counter()
            answers = fetch(part["uri"].to_pylist(), part["bytes"].to_pylist(), max_bytes)
            fetching = (time.perf_counter() - start) / len(answers)
            for answer in answers:
                start = time.perf_counter()
                outcomes.append(_decode(answer, size, max_pixels))
                seconds.append((fetching, time.perf_counter() - start))
    except Exception:
        broken = _Broken(traceback.format_exc())
        return _fetched(table, [broken] * len(table), [(0.0, 0.0)] * len(table))
    return _fetched(table, outcomes, seconds)


def _portions(sizes: list[int | None], max_bytes: int) -> Iterator[range]:
    """Neighbouring rows whose bytes fit into memory together."""
    start, held = 0, 0
    for row, size in enumerate(sizes):
        expected = min(_GUESS if size is None else size, max_bytes)
        if row > start and held + expected > _BYTES_AT_ONCE:
            yield range(start, row)
            start, held = row, 0
        held += expected
    if sizes:
        yield range(start, len(sizes))


def _decode(answer: bytes | FetchError, size: int, max_pixels: int) -> _Outcome:
    if isinstance(answer, FetchError):
        return answer
    try:
        return decode(answer, size, max_pixels)
    except DecodeError as error:
        return error


def _fetched(table: pa.Table, outcomes: list[_Outcome], seconds: list[tuple[float, float]]) -> pa.Table:
    wanted = schema.extend(schema.FETCHED, schema.carried(table.schema))
    images = [outcome if isinstance(outcome, Decoded) else None for outcome in outcomes]
    failures = [None if isinstance(outcome, Decoded) else outcome for outcome in outcomes]
    columns = {
        "status": [failure.status if failure else "ok" for failure in failures],
        "reason": [failure.reason if failure else None for failure in failures],
        "width": [image.width if image else None for image in images],
        "height": [image.height if image else None for image in images],
        "boxes": [[_whole(image)] if image else [] for image in images],
        "crops": _crops([image.crop if image else None for image in images]),
        "fetch_s": [fetching for fetching, _ in seconds],
        "decode_s": [decoding for _, decoding in seconds],
    }
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else table[field.name] for field in wanted
    ]
    return pa.table(arrays, schema=wanted)


def _whole(image: Decoded) -> dict[str, float]:
    """--faces none: the whole upright image is the one face."""
    return {"left": 0, "top": 0, "right": image.width, "bottom": image.height, "detection": 1}


def _crops(crops: list[np.ndarray | None]) -> pa.Array:
    """One large_binary per row; copied once, into one buffer."""
    lengths = [0 if crop is None else crop.size for crop in crops]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    pixels = [crop.reshape(-1) for crop in crops if crop is not None]
    values = np.concatenate(pixels) if pixels else np.empty(0, np.uint8)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(crops), buffers)
