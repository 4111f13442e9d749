"""Where a review queue is put: never over a file that a person has touched.

OUTPUT/review/written.json holds the SHA-256 of every queue file that was written. A file whose bytes are not among them
has been filled in, sorted, annotated or made by hand, and stays as it is; the queue then goes to OUTPUT/review/<run>.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import count

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from cilf.claims import create, replace_if
from cilf.errors import UsageError
from cilf.storage import Location, problem, read, write

FOLDER = "review"
"""The folder below OUTPUT for queues that found `review.csv` or `review.parquet` changed."""

_REMEMBERED = 1000
"""Files; an older one counts as touched."""


def export(queued: pa.Table, output: Location, run: str) -> str:
    """Write a queue as a CSV and a Parquet file.

    Args:
        run: the newest run in the queue's labels; it names the queue where `review` is taken.

    Returns:
        The name of both below OUTPUT, without suffix: `review`, or `review/<run>` where people have touched that.

    Raises:
        UsageError: they cannot be written.
    """
    files = {"csv": _csv(queued), "parquet": parquet(queued)}
    try:
        ours = _remember(output / FOLDER / "written.json", files.values())
        return next(name for name in _names(run) if _put(output, name, files, ours))
    except OSError as error:
        raise UsageError(f"cannot write the review queue: {problem(error, output.url)}") from error


def parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _csv(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pa_csv.write_csv(table, buffer)
    return buffer.getvalue()


def _remember(record: Location, new: Iterable[bytes]) -> set[str]:
    """Digests of all files that are ours, with those that are about to be written: a process that dies in between
    leaves files that the next one knows."""
    digests = list(dict.fromkeys([*_remembered(record), *map(_digest, new)]))
    write(record, json.dumps(digests[-_REMEMBERED:]).encode())
    return set(digests)


def _remembered(record: Location) -> list[str]:
    try:
        found = json.loads(read(record) or b"[]")
    except ValueError:
        return []
    return [str(digest) for digest in found] if isinstance(found, list) else []


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def _names(run: str) -> Iterator[str]:
    yield "review"
    yield f"{FOLDER}/{run}"
    yield from (f"{FOLDER}/{run}-{number}" for number in count(2))


def _put(output: Location, name: str, files: dict[str, bytes], ours: set[str]) -> bool:
    """Write both files of a queue, unless one of this name is somebody's."""
    places = {output / f"{name}.{suffix}": data for suffix, data in files.items()}
    before = {place: _found(place) for place in places}
    if any(data is not None and _digest(data) not in ours for data in before.values()):
        return False
    return all(_replace(place, before[place], data) for place, data in places.items())


def _found(place: Location) -> bytes | None:
    try:
        return read(place)
    except (IsADirectoryError, PermissionError):
        return b""  # never ours


def _replace(place: Location, before: bytes | None, data: bytes) -> bool:
    """False where somebody has written the file since it was read."""
    return create(place, data) if before is None else before == data or replace_if(place, before, data)
