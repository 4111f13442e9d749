"""Reads objects by URI, many at once. A bad object gives a status and a reason instead of an exception."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal, NamedTuple

import pyarrow as pa

from cilf.images import packed
from cilf.images.s3 import Bucket, StoreFails, TooLarge
from cilf.images.version import Changed, check_local, check_opened, local_version
from cilf.storage import CONNECTIONS, filesystem, problem
from cilf.urls import split

_READERS = 16  # threads for anything but object stores: more do not speed up disks, and do not slow down the page cache


@dataclass(frozen=True)
class FetchError:
    """The reason why an object has no bytes."""

    status: Literal["missing", "unavailable", "too_large", "unreadable"]
    reason: str


_Answer = bytes | FetchError


class _Wanted(NamedTuple):
    """A file, or a part of one, to read."""

    path: str
    etag: str | None
    """The required version; None: any version."""
    span: tuple[int, int] | None = None
    """Offset of the first byte, and of the byte after the last; None: the whole file."""


def fetch(
    uris: Sequence[str], sizes: Sequence[int | None], max_bytes: int, etags: Sequence[str | None] | None = None
) -> list[_Answer]:
    """Read whole objects, in the order of `uris`.

    Requests to a failing store are retried for a minute, so a short outage does no harm. A store that fails for the
    whole minute costs that time only once: its remaining objects in this call are `unavailable` immediately.

    Args:
        uris: as in a manifest: scheme://bucket/key, an absolute path, or a name from cilf.images.packed.
        sizes: bytes if known; objects known to be larger than `max_bytes` are not requested.
        max_bytes: larger objects are `too_large`, whether the size was known before or not; no more than this is ever
            read, except from Parquet files.
        etags: the version of each object if known; for a packed object, the version of its file. Another version is
            `unavailable`. Default: any version is accepted.

    Returns:
        The bytes of each object, or `missing` (no such object), `too_large`, `unreadable` (not a file) or
        `unavailable` (no permission, another version, or the store failed after retries: another run may succeed).
    """
    etags = [None] * len(uris) if etags is None else etags
    results: list[_Answer] = [
        _too_large(size, max_bytes) if size is not None and size > max_bytes else b"" for size in sizes
    ]
    wanted: dict[str, list[int]] = {}
    for row, uri in enumerate(uris):
        if not isinstance(results[row], FetchError):
            wanted.setdefault(split(uri)[0], []).append(row)
    for scheme, rows in wanted.items():
        wants = [_Wanted(split(uris[row])[1], etags[row] or None) for row in rows]
        packing, _, store = scheme.partition("+")
        try:
            if packing in _PACKINGS:
                answers = _PACKINGS[packing](store, wants, max_bytes)
            else:
                answers = _read(scheme, wants, max_bytes)
        except Exception as error:  # The scheme cannot be opened here.
            answers = [FetchError("unavailable", problem(error, uris[row])) for row in rows]
        for row, answer in zip(rows, answers, strict=True):
            results[row] = answer
    return results


def _read_members(scheme: str, wants: list[_Wanted], max_bytes: int) -> list[_Answer]:
    """Read members of tars."""
    members = [packed.member(want.path) for want in wants]
    answers: list[_Answer] = [_damaged("tar")] * len(wants)
    for row, member in enumerate(members):
        if member and member.size > max_bytes:
            answers[row] = _too_large(member.size, max_bytes)
    inside = [(row, member) for row, member in enumerate(members) if member and member.size <= max_bytes]
    spans = [_Wanted(member.tar, wants[row].etag, member.span) for row, member in inside]
    for (row, member), answer in zip(inside, _read(scheme, spans, max_bytes), strict=True):
        answers[row] = _unpacked(member, answer, max_bytes) if isinstance(answer, bytes) else answer
    return answers


def _unpacked(member: packed.Member, data: bytes, max_bytes: int) -> _Answer:
    try:
        found = member.unpacked(data, max_bytes)
    except packed.BrokenLink:
        return FetchError("missing", "a link, and what it leads to is not in the tar")
    except TooLarge as error:
        return _failed(error, member.tar, max_bytes)
    return _CUT if found is None else found


def _read_rows(scheme: str, wants: list[_Wanted], max_bytes: int) -> list[_Answer]:
    """Read images in rows of Parquet files."""
    rows = [packed.row(want.path) for want in wants]
    answers: list[_Answer] = [_damaged("Parquet file")] * len(wants)
    inside = [(place, row) for place, row in enumerate(rows) if row]
    found = packed.read_rows(scheme, [row for _, row in inside], [wants[place].etag for place, _ in inside])
    for (place, row), data in zip(inside, found, strict=True):
        if isinstance(data, pa.ArrowException) or (type(data) is OSError and data.errno is None):  # Arrow raises it too
            answers[place] = FetchError("unreadable", "the Parquet file is damaged here")
        elif isinstance(data, Exception):
            answers[place] = _failed(data, f"{scheme}://{row.parquet}", max_bytes)
        elif data is None:
            answers[place] = FetchError("missing", "the Parquet file has no such row, or no image in it")
        else:
            answers[place] = _too_large(len(data), max_bytes) if len(data) > max_bytes else data
    return answers


def _damaged(kind: str) -> FetchError:
    reason = f"the {kind} is damaged, compressed or cannot be opened; objects found in it have their own rows"
    return FetchError("unreadable", reason)


_CUT = FetchError("unreadable", "the tar is cut short here, or was changed after it had been listed")
_CHANGED = FetchError("unavailable", "it changed after it was listed: list it again")
_NO_FILE = FetchError("unreadable", "not a file")
_PACKINGS = {"tar": _read_members, "parquet": _read_rows}


def _too_large(size: int, max_bytes: int) -> FetchError:
    return FetchError("too_large", f"{size} bytes, more than the {max_bytes} allowed")


def _failed(error: Exception, place: str, max_bytes: int) -> FetchError:
    if isinstance(error, TooLarge):
        return _too_large(error.args[0], max_bytes)
    if isinstance(error, Changed) or type(error).__name__ == "FileExpired":  # from s3fs, for an open file
        return _CHANGED
    if isinstance(error, FileNotFoundError):
        return FetchError("missing", "there is no such object")
    if isinstance(error, StoreFails):
        return FetchError("unavailable", str(error))
    return FetchError("unavailable", problem(error, place))


@lru_cache
def _threads(number: int) -> ThreadPoolExecutor:
    """A thread pool that lives as long as the process: for a small block, starting threads costs as much as reading."""
    return ThreadPoolExecutor(number, thread_name_prefix="fetch")


def _each(read: Callable[[_Wanted], _Answer], wants: Sequence[_Wanted], threads: int) -> list[_Answer]:
    """Apply `read` to all of `wants` in threads. Each thread takes the next item itself: a future per object would cost
    more than reading a small object."""
    answers: list[_Answer] = [b""] * len(wants)
    waiting = iter(range(len(wants)))

    def work() -> None:
        for row in waiting:
            answers[row] = read(wants[row])

    for done in [_threads(threads).submit(work) for _ in range(min(threads, len(wants)))]:
        done.result()
    return answers


def _read(scheme: str, wants: Sequence[_Wanted], max_bytes: int) -> list[_Answer]:
    """Read files, or spans of files, from one kind of store."""
    return _SCHEMES.get(scheme, partial(_read_other, scheme))(wants, max_bytes)


def _read_local(wants: Sequence[_Wanted], max_bytes: int) -> list[_Answer]:
    return _each(partial(_read_file, max_bytes=max_bytes), wants, _READERS)


def _read_file(wanted: _Wanted, max_bytes: int) -> _Answer:
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a writer for ever.
        with os.fdopen(os.open(wanted.path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return _NO_FILE
            check_local(wanted.etag, found)
            if wanted.span:
                file.seek(wanted.span[0])
                data = file.read(wanted.span[1] - wanted.span[0])
            elif found.st_size > max_bytes:
                return _too_large(found.st_size, max_bytes)
            else:
                data = file.read(found.st_size + 1)
            check_local(local_version(found), os.fstat(file.fileno()))  # A file being written may mix both.
            return data
    except IsADirectoryError:
        return _NO_FILE
    except (NotADirectoryError, ValueError):
        return FetchError("missing", "there is no such file")
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return FetchError("missing", "there is no such file")
        return _NO_FILE if error.errno == errno.ENXIO else _failed(error, wanted.path, max_bytes)  # ENXIO: a socket
    except Changed as error:
        return _failed(error, wanted.path, max_bytes)


def _read_other(scheme: str, wants: Sequence[_Wanted], max_bytes: int) -> list[_Answer]:
    fs = filesystem(scheme)

    def read(wanted: _Wanted) -> _Answer:
        try:
            with fs.open(wanted.path, "rb", cache_type="none") as file:
                check_opened(wanted.etag, file)
                if wanted.span:
                    file.seek(wanted.span[0])
                    return file.read(wanted.span[1] - wanted.span[0])
                if file.size > max_bytes:
                    raise TooLarge(file.size)
                return file.read()
        except Exception as error:
            return _failed(error, f"{scheme}://{wanted.path}", max_bytes)

    return _each(read, wants, _READERS)


def _read_s3(wants: Sequence[_Wanted], max_bytes: int) -> list[_Answer]:
    buckets: dict[str, Bucket | Exception] = {}
    for name in dict.fromkeys(wanted.path.partition("/")[0] for wanted in wants):
        try:
            buckets[name] = Bucket(name)
        except Exception as error:
            buckets[name] = error

    def read(wanted: _Wanted) -> _Answer:
        name, _, key = wanted.path.partition("/")
        bucket = buckets[name]
        try:
            if isinstance(bucket, Exception):
                raise bucket
            return bucket.get(key, max_bytes, wanted.span, wanted.etag)
        except Exception as error:
            return _failed(error, f"s3://{name}", max_bytes)

    return _each(read, wants, CONNECTIONS)


_SCHEMES = {"file": _read_local, "s3": _read_s3}
