"""URIs -> bytes, or why there are none. Many requests at once; nothing is raised for one bad object."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from cilf.storage import CONNECTIONS, filesystem, problem, split

_READERS = 16  # threads; local disks and the page cache give no more beyond
_TRIES = 3  # of a body that breaks off; requests that fail as a whole are retried below, in the client


@dataclass(frozen=True)
class FetchError:
    """An object without bytes."""

    status: Literal["missing", "unavailable", "too_large", "unreadable"]
    reason: str


def fetch(uris: Sequence[str], sizes: Sequence[int | None], max_bytes: int) -> list[bytes | FetchError]:
    """Read whole objects, in the order of `uris`.

    Args:
        uris: as a manifest names them: scheme://bucket/key, or an absolute path.
        sizes: bytes where known; what is known to be larger than `max_bytes` is not asked for.
        max_bytes: larger objects are `too_large`, whether that was known before or not.

    Returns:
        The bytes of each object, or `missing` (there is none), `too_large`, `unreadable` (not a file) or
        `unavailable` (no permission, or the store failed after retries: another run may have more luck).
    """
    results: list[bytes | FetchError] = [
        _too_large(size, max_bytes) if size is not None and size > max_bytes else b"" for size in sizes
    ]
    wanted: dict[str, list[int]] = {}
    for row, uri in enumerate(uris):
        if not isinstance(results[row], FetchError):
            wanted.setdefault(split(uri)[0], []).append(row)
    for scheme, rows in wanted.items():
        read = {"file": _read_local, "s3": _read_s3}.get(scheme, _read_other)
        paths = [split(uris[row])[1] for row in rows]
        try:
            answers = read(scheme, paths, max_bytes)
        except Exception as error:  # The whole store, or a kind of URL that cannot be opened here.
            answers = [FetchError("unavailable", problem(error, uris[row])) for row in rows]
        for row, answer in zip(rows, answers, strict=True):
            results[row] = answer
    return results


def _too_large(size: int, max_bytes: int) -> FetchError:
    return FetchError("too_large", f"{size} bytes, more than the {max_bytes} allowed")


def _failed(error: Exception, uri: str) -> FetchError:
    if isinstance(error, FileNotFoundError):
        return FetchError("missing", "there is no such object")
    return FetchError("unavailable", problem(error, uri))


def _read_local(scheme: str, paths: list[str], max_bytes: int) -> list[bytes | FetchError]:
    def read(path: str) -> bytes | FetchError:
        try:
            # Opening a pipe would wait for its writer for ever.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    return FetchError("unreadable", "not a file")
                return _too_large(found.st_size, max_bytes) if found.st_size > max_bytes else file.read()
        except IsADirectoryError:
            return FetchError("unreadable", "not a file")
        except (NotADirectoryError, ValueError):
            return FetchError("missing", "there is no such file")
        except OSError as error:
            return _failed(error, path)

    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(read, paths))


def _read_other(scheme: str, paths: list[str], max_bytes: int) -> list[bytes | FetchError]:
    fs = filesystem(scheme)

    def read(path: str) -> bytes | FetchError:
        try:
            data = fs.cat_file(path)
        except Exception as error:
            return _failed(error, f"{scheme}://{path}")
        return _too_large(len(data), max_bytes) if len(data) > max_bytes else data

    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(read, paths))


def _read_s3(scheme: str, paths: list[str], max_bytes: int) -> list[bytes | FetchError]:
    from fsspec.asyn import sync

    fs = filesystem(scheme)
    return sync(fs.loop, _gather_s3, fs, paths, max_bytes)


async def _gather_s3(fs: Any, paths: list[str], max_bytes: int) -> list[bytes | FetchError]:
    gate = asyncio.Semaphore(CONNECTIONS)

    async def read(path: str) -> bytes | FetchError:
        async with gate:
            try:
                return await _get_s3(fs, path, max_bytes)
            except Exception as error:
                return _failed(error, f"s3://{path}")

    return await asyncio.gather(*map(read, paths))


async def _get_s3(fs: Any, path: str, max_bytes: int) -> bytes | FetchError:
    """One GET of exactly this key.

    s3fs's cat_file would ask for the size first, and read `folder/` as `folder` and `a?versionId=b` as a
    version of `a`.
    """
    bucket, _, key = path.partition("/")
    for attempt in range(_TRIES):
        answer = await fs._call_s3("get_object", Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            if answer["ContentLength"] > max_bytes:
                body.close()
                return _too_large(answer["ContentLength"], max_bytes)
            try:
                return await body.read()
            except Exception:
                if attempt == _TRIES - 1:
                    raise
        await asyncio.sleep(0.2 * 2**attempt)
    raise AssertionError("unreachable")
