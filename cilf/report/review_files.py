"""Writing of the review queue, which never overwrites a file that a person has changed.

OUTPUT/review/written.json holds the SHA-256 of every queue file that was written. A file with another digest has been
filled in, sorted, annotated or made by hand, and stays as it is; the queue then goes to OUTPUT/review/<run>.
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
"""The folder below OUTPUT for queues that are written while `review.csv` or `review.parquet` is changed."""

_REMEMBERED = 1000
"""Number of files whose digests are kept; an older file counts as changed."""


def export(queued: pa.Table, output: Location, run: str) -> str:
    """Write a queue as a CSV and a Parquet file.

    Args:
        run: the newest run in the queue's labels; it names the queue if the name `review` is taken.

    Returns:
        The name of both files below OUTPUT, without suffix: `review`, or `review/<run>` if people have changed those.

    Raises:
        UsageError: the files cannot be written.
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
    """Digests of all files that CILF wrote, including those that it is about to write, so that the next process
    recognises the files of one that dies in between."""
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
    """Write both files of a queue, unless a file of this name was changed or made by somebody else."""
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
    """Replace a file; False if somebody has written it since it was read."""
    return create(place, data) if before is None else before == data or replace_if(place, before, data)
