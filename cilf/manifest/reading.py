"""Manifests made by users: Parquet, CSV or JSON lines with a `uri` column."""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any

import pyarrow as pa

from cilf import schema
from cilf.column_types import with_values
from cilf.errors import UsageError
from cilf.images.version import local_version
from cilf.manifest import formats
from cilf.manifest.columns import check, fitted, plain
from cilf.manifest.failures import told
from cilf.manifest.ids import UNIDENTIFIED, object_ids
from cilf.manifest.partitions import extended, partition, with_partition
from cilf.manifest.table_formats import check_is_no_table
from cilf.manifest.uris import absolute
from cilf.manifest.values import converted
from cilf.storage import Location

UNREADABLE = "cannot read the manifest"
_THREADS = 16
"""Files to examine at once."""


@dataclass(frozen=True)
class Manifest:
    """A list of objects, in one file or several."""

    version: str
    """A version of its contents, which changes when any of its files does."""
    carried: list[pa.Field]
    """Its columns beyond schema.MANIFEST, which are carried through to the labels."""
    parts: Sequence[Callable[[], Iterator[pa.Table]]]
    """Readers, one per file: they return tables of schema.MANIFEST, with `id` only if it is known to be right, and of
    `carried`."""
    distinct: bool = False
    """Whether it is known to list no object twice."""


def is_named_manifest(source: Location) -> bool:
    """True if this is a manifest by its name."""
    return source.path.lower().endswith((".parquet", *formats.CSV, *formats.JSON))


def open_manifest(source: Location) -> Manifest:
    """A manifest that is recognised by its name: a file, a folder of Parquet files, or `folder/*.csv`.

    Relative URIs are relative to the manifest's folder. The column `etag`, by which a changed object counts as new, is
    optional. A column `id` must hold CILF's ids, as in the files that `cilf list` writes. In CSV and JSON lines, which
    have no types of their own, text is carried as it is written: in CSV every column of the user, in JSON lines every
    string. The types of Parquet are carried as cilf.manifest.columns.plain converts them, and columns from the names of
    folders, `camera=X`, are text.

    Raises:
        UsageError: there is no such file or no `uri` column, the labels cannot have a column, files have different
            columns, or a file cannot be read, CSV and JSON lines to their end; while the parts are read, also if a row
            has no URI or a value has a wrong type.
    """
    files = manifest_files(source)
    with ThreadPoolExecutor(_THREADS) as threads:
        columns = list(threads.map(partial(_columns, source), files))
    carried = _carried(files, columns)
    known = zip(files, columns, strict=True)
    return Manifest(version(files), carried, [partial(_tables, source, *one, carried) for one in known])


@dataclass(frozen=True)
class ManifestFile:
    """One of the files of a manifest, as its store describes it."""

    place: Location
    etag: str | None
    modified: Any
    """A datetime, or microseconds since 1970."""


def manifest_files(source: Location) -> list[ManifestFile]:
    """The files of a manifest, sorted by path: one file, those below a folder, or those whose names match a pattern
    such as `folder/*.parquet`. A file with a `*` in its own name is that file.

    Raises:
        UsageError: there are none, or the store cannot be read.
    """
    name = source.path.rpartition("/")[2]
    with told(UNREADABLE, source):
        if "*" in name and not source.fs.exists(source.path):
            listed = {info["name"]: info for info in source.fs.ls(source.parent.path or "/", detail=True)}
            check_is_no_table((path.rpartition("/")[2] for path in listed), source.parent)
            paths = sorted(path for path in listed if _fits(path, name) and listed[path]["type"] != "directory")
            if not paths:
                raise UsageError(f"no file matches INPUT {source.url}")
        else:
            listed = _local_files(source) if source.scheme == "file" else source.fs.find(source.path, detail=True)
            if not listed and not source.fs.exists(source.path):
                raise UsageError(f"INPUT {source.url} does not exist")
            if source.path not in listed:
                check_is_no_table((path[len(source.path) :].lstrip("/") for path in listed), source)
            paths = [source.path] if source.path in listed else sorted(p for p in listed if _is_data(p, source))
            if not paths:
                raise UsageError(f"{source.url} is named like a manifest but holds no Parquet file")
    return [_described(replace(source, path=path), listed[path]) for path in paths]


def _fits(path: str, pattern: str) -> bool:
    """True if a file's name matches a pattern with `*`, which does not match the first character of hidden names."""
    name = path.rpartition("/")[2]
    fits = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL)
    return fits is not None and (not name.startswith((".", "_")) or pattern[0] == name[0])


def _described(place: Location, info: dict[str, Any]) -> ManifestFile:
    if place.scheme == "file":
        try:
            found = os.stat(place.path)  # noqa: PTH116
        except OSError:
            return ManifestFile(place, None, None)  # a broken link
        return ManifestFile(place, local_version(found), found.st_mtime_ns // 1000)
    etag = info.get("ETag") or info.get("etag")
    modified = info.get("LastModified") or info.get("mtime")
    return ManifestFile(place, etag.strip('"') if etag else None, modified)


def version(files: Sequence[ManifestFile]) -> str:
    """A version of a manifest, which changes when any of its files does."""
    described = "\0".join(f"{file.place.path} {file.etag or file.modified}" for file in files)
    return hashlib.sha256(described.encode(errors="surrogateescape")).hexdigest()


def _local_files(source: Location) -> dict[str, Any]:
    """The result of fsspec's `find`, and of following links to folders, with each folder once. A folder that cannot be
    read raises, unless its name says that it holds no data: such a folder is listed itself."""
    found: dict[str, Any] = {}
    seen, waiting = set(), deque([source.path])
    while waiting:
        folder = waiting.pop()
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        for info in sorted(source.fs.ls(folder, detail=True), key=itemgetter("name")):
            path = info["name"]
            if not os.path.isdir(path) or _is_hidden(path.rpartition("/")[2]):  # noqa: PTH112
                found[path] = info
            elif info["islink"]:
                waiting.appendleft(path)  # Links come last, so that a folder inside `source` keeps its own name.
            else:
                waiting.append(path)
    return found


def _is_data(path: str, folder: Location) -> bool:
    """True if a file below a folder is one of its Parquet files. The logs and temporary files of other programs start
    with a dot or `_`, as ours do."""
    below = path[len(folder.path) :].strip("/").split("/")
    return path.lower().endswith(".parquet") and not any(map(_is_hidden, below))


def _is_hidden(name: str) -> bool:
    """True if a name is hidden by the rule of Spark: `_camera=X` is not, as it is a partition."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _columns(source: Location, file: ManifestFile) -> pa.Schema:
    """The columns of a file and of its folders, with the types in the file."""
    with told(UNREADABLE, file.place):
        columns = extended(formats.columns(file.place), partition(file.place.path, source.path))
        check(columns, file.place.url)
    return columns


def _carried(files: Sequence[ManifestFile], columns: Sequence[pa.Schema]) -> list[pa.Field]:
    """The user's own columns, with types that can hold the values in all files.

    Raises:
        UsageError: the files have different columns, or a column without a common type.
    """
    first, common = files[0].place.url, pa.schema([])
    for file, found in zip(files, columns, strict=True):
        own = pa.schema([pa.field(field.name, plain(field.type)) for field in schema.carried(found)])
        if differing := {field.name for field in schema.carried(columns[0])}.symmetric_difference(own.names):
            names = ", ".join(sorted(differing))
            raise UsageError(f"{file.place.url} and {first} differ: only one of them has the columns {names}")
        try:
            common = pa.unify_schemas([common, own], promote_options="permissive")
        except pa.ArrowException as error:
            name = next(f.name for f in own if not _go_together(common.field(f.name), f))
            types = f"{common.field(name).type} and {own.field(name).type}"
            raise UsageError(f"column {name} of {file.place.url} differs from {first}: {types}") from error
    return [pa.field(field.name, with_values(field.type)) for field in common]


def _go_together(one: pa.Field, other: pa.Field) -> bool:
    try:
        pa.unify_schemas([pa.schema([one]), pa.schema([other])], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def _tables(source: Location, file: ManifestFile, columns: pa.Schema, carried: list[pa.Field]) -> Iterator[pa.Table]:
    place, before = file.place, 0
    folders = partition(place.path, source.path)
    with told(UNREADABLE, place):
        for batch in formats.rows(place, columns):
            yield _table(with_partition(batch, folders), carried, place, source.parent, before)
            before += batch.num_rows


def _table(batch: pa.RecordBatch, carried: list[pa.Field], file: Location, folder: Location, before: int) -> pa.Table:
    """Rows of a file as rows of a manifest; `before` is the number of rows before them."""
    wanted, columns = schema.extend(UNIDENTIFIED, carried), []
    for field in wanted:
        if field.name not in batch.schema.names:
            columns.append(pa.nulls(batch.num_rows, field.type))
        elif field.name in UNIDENTIFIED.names:
            columns.append(converted(batch[field.name], field.name, file.url, before))
        else:
            columns.append(_own(batch[field.name], field, file))
    columns[0] = absolute(columns[0], folder)
    table = pa.table(columns, schema=wanted)
    return _with_ids(table, batch["id"], file) if "id" in batch.schema.names else table


def _own(column: pa.Array, field: pa.Field, file: Location) -> pa.Array:
    try:
        return fitted(column, field.type)
    except pa.ArrowException as error:
        raise UsageError(f"{file.url}: column {field.name} has a value that is not {field.type}: {error}") from error


def _with_ids(table: pa.Table, found: pa.Array, file: Location) -> pa.Table:
    """Add the column `id`, after checking that the file's own column is equal to it."""
    ids = pa.array(object_ids(table))
    try:
        same = found.cast(ids.type).equals(ids)
    except pa.ArrowException:
        same = False
    if not same:
        raise UsageError(f"{file.url} has a column `id`, which the labels have too: rename it")
    return table.add_column(0, schema.MANIFEST.field("id"), ids)
