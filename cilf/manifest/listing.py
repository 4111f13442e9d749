"""What there is to label: a walk over a prefix, or a manifest that somebody has made, as tables of objects."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cilf import schema
from cilf.errors import UsageError
from cilf.manifest.pending import object_ids
from cilf.manifest.reading import MANIFEST_SUFFIXES, read_manifest
from cilf.storage import Location, problem, write

_TABLE_ROWS = 10_000
_SHARD_ROWS = 100_000


class Found(NamedTuple):
    """An object, as its store describes it."""

    uri: str
    etag: str | None
    bytes: int | None
    modified: datetime | None


def is_manifest(source: Location) -> bool:
    """Whether INPUT is a list of objects, by its own name. A folder of photographs that happens to hold a
    Parquet file is a folder of photographs."""
    return source.path.endswith(MANIFEST_SUFFIXES)


def objects(source: Location, include: Sequence[str] = ()) -> Iterator[pa.Table]:
    """Everything to label under `source`: tables of schema.MANIFEST, with the user's own columns behind it.

    Each object once, in a stable order. `include` are globs; for a walk they are matched against the key
    below `source`, for a manifest against the whole URI.

    Raises:
        UsageError: the source cannot be read, or is no manifest although its name says so.
    """
    manifest = is_manifest(source)
    tables = read_manifest(source) if manifest else _described(_walk(source))
    below = 0 if manifest else len(source.url.rstrip("/")) + 1
    seen: set[int] = set()
    for table in tables:
        uris, ids = table["uri"].to_pylist(), object_ids(table)
        keep = np.zeros(len(table), dtype=bool)
        for row, (number, uri) in enumerate(zip(ids.tolist(), uris, strict=True)):
            if number not in seen and (not include or any(fnmatchcase(uri[below:], glob) for glob in include)):
                seen.add(number)
                keep[row] = True
        yield table.add_column(0, schema.MANIFEST.field("id"), pa.array(ids)).filter(pa.array(keep))


def write_manifest(tables: Iterable[pa.Table], folder: Location) -> np.ndarray:
    """Write tables as `part-NNNNN.parquet` into `folder` and return the ids of their rows, int64 [N]."""
    ids: list[np.ndarray] = []
    for number, shard in enumerate(_shards(tables)):
        ids.append(shard["id"].to_numpy())
        buffer = io.BytesIO()
        pq.write_table(shard, buffer, compression="zstd")
        write(folder / f"part-{number:05d}.parquet", buffer.getvalue())
    return np.concatenate(ids) if ids else np.empty(0, dtype=np.int64)


def _shards(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= _SHARD_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting)


def _described(found: Iterator[Found]) -> Iterator[pa.Table]:
    fields = [schema.MANIFEST.field(name) for name in Found._fields]
    while rows := list(islice(found, _TABLE_ROWS)):
        columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), fields, strict=True)]
        yield pa.table(columns, schema=pa.schema(fields))


def _walk(source: Location) -> Iterator[Found]:
    walk = {"file": _walk_local, "s3": _walk_s3}.get(source.scheme, _walk_other)
    try:
        yield from walk(source)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot list INPUT: {problem(error, source.url)}") from error


def _walk_local(source: Location) -> Iterator[Found]:
    """Every file below a folder, whatever its name; or the one file that `source` is.

    Links to files count, links to folders are not followed (they may lead in circles), and a link that leads
    nowhere is an object that will be `missing`. The file system gives no etag: size and time of change, in
    nanoseconds, stand for it, so that a changed file is labelled again.
    """
    if (file := Path(source.path)).is_file():
        yield _local(source.path, file.stat())
        return
    yield from _walk_folder(source.path)


def _walk_folder(folder: str) -> Iterator[Found]:
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk_folder(entry.path)
        elif entry.is_file():
            yield _local(entry.path, entry.stat())
        elif entry.is_symlink() and not entry.is_dir():
            yield _local(entry.path, None)


def _local(path: str, stat: os.stat_result | None) -> Found:
    # Names that are no UTF-8 cannot be a string column; escaped they at least get their row, as `missing`.
    uri = os.fsencode(path).decode("utf-8", "backslashreplace")
    if stat is None:
        return Found(uri, None, None, None)
    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
    return Found(uri, f"{stat.st_size:x}-{stat.st_mtime_ns:x}", stat.st_size, modified)


def _walk_s3(source: Location) -> Iterator[Found]:
    """Pages of ListObjectsV2 as they come, so that memory does not grow with the corpus.

    s3fs's own find() would hold every key, and drops the `folder/` markers, which are objects too.
    """
    bucket, _, key = source.path.partition("/")
    empty = True
    for item in _pages(source, bucket, f"{key}/" if key else ""):
        empty = False
        yield item
    if empty and key:  # Not a prefix; perhaps it is one object.
        yield from (item for item in _pages(source, bucket, key) if item.uri == source.url)


def _pages(source: Location, bucket: str, prefix: str) -> Iterator[Found]:
    go_on: dict[str, str] = {}
    while True:
        page = source.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **go_on)
        for item in page.get("Contents", ()):
            etag = item["ETag"].strip('"')
            yield Found(f"s3://{bucket}/{item['Key']}", etag, item["Size"], item["LastModified"])
        if not page.get("IsTruncated"):
            return
        go_on = {"ContinuationToken": page["NextContinuationToken"]}


def _walk_other(source: Location) -> Iterator[Found]:
    for path, info in source.fs.find(source.path, detail=True).items():
        yield Found(f"{source.scheme}://{path}", info.get("etag"), info.get("size"), info.get("mtime"))


def check_input(source: Location) -> None:
    """Make sure that INPUT is there and can be read, without listing it.

    Raises:
        UsageError: it is not or cannot.
    """
    if is_manifest(source):
        found = None
        try:
            found = source.fs.exists(source.path)
        except Exception as error:
            raise UsageError(f"cannot read INPUT: {problem(error, source.url)}") from error
        if not found:
            raise UsageError(f"INPUT {source.url} does not exist")
    elif source.scheme == "file" and not Path(source.path).exists():
        raise UsageError(f"INPUT {source.path} does not exist")
    elif next(_walk(source), None) is None:
        raise UsageError(f"nothing to label under {source.url}: there are no objects")
