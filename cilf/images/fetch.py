"""URIs -> bytes, or why there are none. Many requests at once; nothing is raised for one bad object."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import pyarrow as pa

from cilf.images import packed
from cilf.images.s3 import Bucket, StoreFails, TooLarge
from cilf.storage import CONNECTIONS, filesystem, problem, split

_READERS = 16  # threads for what is no object store: disks give no more beyond, and the page cache loses nothing


@dataclass(frozen=True)
class FetchError:
    """An object without bytes."""

    status: Literal["missing", "unavailable", "too_large", "unreadable"]
    reason: str


_Answer = bytes | FetchError
_Span = tuple[int, int] | None
"""First byte of what is wanted of a file, and the one behind it; None: all of it."""


def fetch(uris: Sequence[str], sizes: Sequence[int | None], max_bytes: int) -> list[_Answer]:
    """Read whole objects, in the order of `uris`.

    A store that fails is asked again for a minute, so a short outage is sat out. One that fails for all that time
    costs it once: the rest of its objects in this call are `unavailable` at once.

    Args:
        uris: as a manifest names them: scheme://bucket/key, an absolute path, or a name of cilf.images.packed.
        sizes: bytes where known; what is known to be larger than `max_bytes` is not asked for.
        max_bytes: larger objects are `too_large`, whether that was known before or not; no more is ever read, but of
            Parquet files.

    Returns:
        The bytes of each object, or `missing` (there is none), `too_large`, `unreadable` (not a file) or
        `unavailable` (no permission, or the store failed after retries: another run may have more luck).
    """
    results: list[_Answer] = [
        _too_large(size, max_bytes) if size is not None and size > max_bytes else b"" for size in sizes
    ]
    wanted: dict[str, list[int]] = {}
    for row, uri in enumerate(uris):
        if not isinstance(results[row], FetchError):
            wanted.setdefault(split(uri)[0], []).append(row)
    for scheme, rows in wanted.items():
        paths = [split(uris[row])[1] for row in rows]
        packing, _, store = scheme.rpartition("+")
        try:
            if packing in _PACKINGS:
                answers = _PACKINGS[packing](store, paths, max_bytes)
            else:
                answers = _read(scheme, paths, [None] * len(paths), max_bytes)
        except Exception as error:  # A kind of URL that cannot be opened here.
            answers = [FetchError("unavailable", problem(error, uris[row])) for row in rows]
        for row, answer in zip(rows, answers, strict=True):
            results[row] = answer
    return results


def _read_members(scheme: str, paths: list[str], max_bytes: int) -> list[_Answer]:
    """Members of tars."""
    members = [packed.member(path) for path in paths]
    answers: list[_Answer] = [_damaged("tar")] * len(paths)
    for row, member in enumerate(members):
        if member and member.size > max_bytes:
            answers[row] = _too_large(member.size, max_bytes)
    wanted = [(row, member) for row, member in enumerate(members) if member and member.size <= max_bytes]
    tars, spans = [member.tar for _, member in wanted], [member.span for _, member in wanted]
    for (row, member), answer in zip(wanted, _read(scheme, tars, spans, max_bytes), strict=True):
        data = member.unpacked(answer) if isinstance(answer, bytes) else answer
        answers[row] = _CHANGED if data is None else data
    return answers


def _read_rows(scheme: str, paths: list[str], max_bytes: int) -> list[_Answer]:
    """Rows of Parquet files."""
    rows = [packed.row(path) for path in paths]
    answers: list[_Answer] = [_damaged("Parquet file")] * len(paths)
    wanted = [(place, row) for place, row in enumerate(rows) if row]
    found = packed.read_rows(scheme, [row for _, row in wanted])
    for (place, row), data in zip(wanted, found, strict=True):
        if isinstance(data, pa.ArrowException) or (type(data) is OSError and data.errno is None):  # Arrow's as well
            answers[place] = FetchError("unreadable", "the Parquet file is damaged here")
        elif isinstance(data, Exception):
            answers[place] = _failed(data, f"{scheme}://{row.parquet}", max_bytes)
        elif data is None:
            answers[place] = FetchError("missing", "the Parquet file has no such row, or no image in it")
        else:
            answers[place] = _too_large(len(data), max_bytes) if len(data) > max_bytes else data
    return answers


def _damaged(kind: str) -> FetchError:
    return FetchError("unreadable", f"the {kind} is damaged or cannot be opened; what it tells of has rows of its own")


_CHANGED = FetchError("unreadable", "the tar is cut short here, or was changed after it had been listed")
_PACKINGS = {"tar": _read_members, "parquet": _read_rows}


def _too_large(size: int, max_bytes: int) -> FetchError:
    return FetchError("too_large", f"{size} bytes, more than the {max_bytes} allowed")


def _failed(error: Exception, place: str, max_bytes: int) -> FetchError:
    if isinstance(error, TooLarge):
        return _too_large(error.args[0], max_bytes)
    if isinstance(error, FileNotFoundError):
        return FetchError("missing", "there is no such object")
    if isinstance(error, StoreFails):
        return FetchError("unavailable", str(error))
    return FetchError("unavailable", problem(error, place))


@lru_cache
def _threads(number: int) -> ThreadPoolExecutor:
    """Kept for the life of the process: starting them anew costs a small block as much as reading it."""
    return ThreadPoolExecutor(number, thread_name_prefix="fetch")


def _each(
    read: Callable[[str, _Span], _Answer], paths: list[str], spans: Sequence[_Span], threads: int
) -> list[_Answer]:
    """`read` of every path. Threads take the next path themselves: a future per object would cost more than the
    reading of a small one."""
    answers: list[_Answer] = [b""] * len(paths)
    waiting = iter(range(len(paths)))

    def work() -> None:
        for row in waiting:
            answers[row] = read(paths[row], spans[row])

    for done in [_threads(threads).submit(work) for _ in range(min(threads, len(paths)))]:
        done.result()
    return answers


def _read(scheme: str, paths: list[str], spans: Sequence[_Span], max_bytes: int) -> list[_Answer]:
    """Files, or spans of files, of one kind of store."""
    return _SCHEMES.get(scheme, partial(_read_other, scheme))(paths, spans, max_bytes)


def _read_local(paths: list[str], spans: Sequence[_Span], max_bytes: int) -> list[_Answer]:
    return _each(partial(_read_file, max_bytes=max_bytes), paths, spans, _READERS)


def _read_file(path: str, span: _Span, max_bytes: int) -> _Answer:
    try:
        # Opening a pipe would wait for its writer for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return FetchError("unreadable", "not a file")
            if span:
                file.seek(span[0])
                return file.read(span[1] - span[0])
            if found.st_size > max_bytes:
                return _too_large(found.st_size, max_bytes)
            return file.read(found.st_size + 1)
    except IsADirectoryError:
        return FetchError("unreadable", "not a file")
    except (NotADirectoryError, ValueError):
        return FetchError("missing", "there is no such file")
    except OSError as error:
        return _failed(error, path, max_bytes)


def _read_other(scheme: str, paths: list[str], spans: Sequence[_Span], max_bytes: int) -> list[_Answer]:
    fs = filesystem(scheme)

    def read(path: str, span: _Span) -> _Answer:
        try:
            if span:
                return fs.cat_file(path, *span)
            with fs.open(path, "rb", cache_type="none") as file:
                if file.size > max_bytes:
                    raise TooLarge(file.size)
                return file.read()
        except Exception as error:
            return _failed(error, f"{scheme}://{path}", max_bytes)

    return _each(read, paths, spans, _READERS)


def _read_s3(paths: list[str], spans: Sequence[_Span], max_bytes: int) -> list[_Answer]:
    buckets: dict[str, Bucket | Exception] = {}
    for name in dict.fromkeys(path.partition("/")[0] for path in paths):
        try:
            buckets[name] = Bucket(name)
        except Exception as error:
            buckets[name] = error

    def read(path: str, span: _Span) -> _Answer:
        name, _, key = path.partition("/")
        bucket = buckets[name]
        try:
            if isinstance(bucket, Exception):
                raise bucket
            return bucket.get(key, max_bytes, span)
        except Exception as error:
            return _failed(error, f"s3://{name}", max_bytes)

    return _each(read, paths, spans, CONNECTIONS)


_SCHEMES = {"file": _read_local, "s3": _read_s3}
