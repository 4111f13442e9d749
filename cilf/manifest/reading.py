"""Manifests that others have made: Parquet, CSV or JSON lines with a `uri` column."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cilf import schema
from cilf.errors import UsageError
from cilf.images.version import local_version
from cilf.manifest.failures import told
from cilf.manifest.ids import UNIDENTIFIED, object_ids
from cilf.manifest.uris import absolute
from cilf.storage import Location

TABLE_ROWS = 32_768
UNREADABLE = "cannot read the manifest"
_CSV = (".csv", ".csv.gz")
_JSON = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_NOTHING = ("", "NA", "N/A", "NULL", "null", "NaN", "nan")
"""How other programs write a number or a time that is not there."""
_JSON_BLOCK = 1 << 24
"""Bytes of JSON lines whose types are found at once."""


@dataclass(frozen=True)
class Manifest:
    """A list of objects, in one file or several."""

    version: str
    """Another one once any of its files changes."""
    carried: list[pa.Field]
    """Its columns beyond schema.MANIFEST, which go through to the labels."""
    parts: Sequence[Callable[[], Iterator[pa.Table]]]
    """Each reads one of its files: tables of schema.MANIFEST, `id` only where it is known to be right, and of
    `carried`."""
    distinct: bool = False
    """Whether no object is in it twice."""


def is_named_manifest(source: Location) -> bool:
    """Whether the name says that this is a manifest."""
    return source.path.lower().endswith((".parquet", *_CSV, *_JSON))


def open_manifest(source: Location) -> Manifest:
    """A manifest that is named so: a file, a folder of Parquet files, or `folder/*.csv`.

    Relative URIs are taken from the manifest's folder. An etag makes a changed object new; a manifest may go
    without. A column `id` must be ours, as in the files that `cilf list` writes. Of CSV and JSON lines, which have no
    types of their own, text is carried as it is written: in CSV that is every column of the user's, in JSON lines
    every string.

    Raises:
        UsageError: no such file, no `uri` column, one of our names for a column, or an unreadable file; and while
            the parts are read, a row without URI, a value of a wrong type, or files with different columns.
    """
    files = manifest_files(source)
    with told(UNREADABLE, files[0].place), files[0].place.fs.open(files[0].place.path, "rb") as opened:
        columns = _columns(files[0].place.path, opened)
        _check_columns(columns, files[0].place)
    carried = [_own(field) for field in schema.carried(columns)]
    parts = [partial(_tables, file.place, source.parent, columns, carried) for file in files]
    return Manifest(version(files), carried, parts)


@dataclass(frozen=True)
class ManifestFile:
    """One of the files of a manifest, as its store describes it."""

    place: Location
    etag: str | None
    modified: Any
    """A datetime, or microseconds since 1970."""


def manifest_files(source: Location) -> list[ManifestFile]:
    """The files of what is named like a manifest, by path: one, those below a folder, or those whose names fit
    `folder/*.parquet`. Where a file has such a name itself, it is that file.

    Raises:
        UsageError: there are none, or the store cannot be read.
    """
    name = source.path.rpartition("/")[2]
    with told(UNREADABLE, source):
        if "*" in name and not source.fs.exists(source.path):
            listed = {info["name"]: info for info in source.fs.ls(source.parent.path or "/", detail=True)}
            paths = sorted(path for path in listed if _fits(path, name) and listed[path]["type"] != "directory")
            if not paths:
                raise UsageError(f"no file fits INPUT {source.url}")
        else:
            listed = _local_files(source) if source.scheme == "file" else source.fs.find(source.path, detail=True)
            if not listed and not source.fs.exists(source.path):
                raise UsageError(f"INPUT {source.url} does not exist")
            paths = [source.path] if source.path in listed else sorted(p for p in listed if _is_data(p, source))
            if not paths:
                raise UsageError(f"{source.url} is named like a manifest and holds no Parquet file")
    return [_described(replace(source, path=path), listed[path]) for path in paths]


def _fits(path: str, pattern: str) -> bool:
    """Whether a file's name fits a pattern with `*`; hidden names have to be asked for, as in a shell."""
    name = path.rpartition("/")[2]
    fits = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL)
    return fits is not None and (not name.startswith((".", "_")) or pattern[0] == name[0])


def _described(place: Location, info: dict[str, Any]) -> ManifestFile:
    if place.scheme == "file":
        try:
            found = os.stat(place.path)  # noqa: PTH116
        except OSError:
            return ManifestFile(place, None, None)  # a link that leads nowhere
        return ManifestFile(place, local_version(found), found.st_mtime_ns // 1000)
    etag = info.get("ETag") or info.get("etag")
    modified = info.get("LastModified") or info.get("mtime")
    return ManifestFile(place, etag.strip('"') if etag else None, modified)


def version(files: Sequence[ManifestFile]) -> str:
    """Another one once any of the files changes."""
    described = "\0".join(f"{file.place.path} {file.etag or file.modified}" for file in files)
    return hashlib.sha256(described.encode(errors="surrogateescape")).hexdigest()


def _local_files(source: Location) -> dict[str, Any]:
    """What fsspec's `find` finds, which leaves out folders that may not be read; here they raise, unless their names
    say that they hold no data."""
    found, waiting = {}, [source.path]
    while waiting:
        for info in source.fs.ls(waiting.pop(), detail=True):
            path = info["name"]
            if info["type"] != "directory":
                found[path] = info
            elif not path.rpartition("/")[2].startswith(("_", ".")):
                waiting.append(path)
    return found


def _is_data(path: str, folder: Location) -> bool:
    """Whether a file below a folder is one of its Parquet files; others' logs and temporary files start as ours do."""
    below = path[len(folder.path) :].strip("/").split("/")
    return path.lower().endswith(".parquet") and not any(name.startswith(("_", ".")) for name in below)


def _columns(path: str, opened: Any) -> pa.Schema:
    """The columns of a file. Of JSON lines all are read, as any may bring another column or type."""
    if not path.lower().endswith(_JSON):
        return _reader(path, opened, None)[0]
    from pyarrow import json

    found, rest = pa.schema([]), b""
    stream = _unpacked(path, opened)
    while block := stream.read(_JSON_BLOCK):
        lines, _, rest = (rest + block).rpartition(b"\n")
        if lines.strip():
            found = _both(found, json.read_json(pa.BufferReader(lines)).schema)
    return _both(found, json.read_json(pa.BufferReader(rest)).schema) if rest.strip() else found


def _both(before: pa.Schema, more: pa.Schema) -> pa.Schema:
    """The columns of two blocks of JSON lines, of types that hold both."""
    written = pa.schema([pa.field(field.name, _as_written(field.type)) for field in more])
    return pa.unify_schemas([before, written], promote_options="permissive")


def _as_written(kind: pa.DataType) -> pa.DataType:
    """A type that Arrow found in JSON, with text where it took text for a time."""
    if pa.types.is_list(kind):
        return pa.list_(_as_written(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _as_written(field.type)) for field in kind])
    return pa.string() if pa.types.is_timestamp(kind) else kind


def _reader(path: str, opened: Any, columns: pa.Schema | None) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The columns of a file and its rows; of JSON lines, rows of the `columns` that were found in it."""
    if path.lower().endswith(_CSV):
        from pyarrow import csv

        # A type guessed from the first block may not fit the second, and 0042 is no number; nothing at all is null.
        text = csv.ConvertOptions(
            default_column_type=pa.string(),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        quoted = csv.ParseOptions(newlines_in_values=True)
        lines = csv.open_csv(_unpacked(path, opened), parse_options=quoted, convert_options=text)
        return lines.schema, iter(lines)
    if path.lower().endswith(_JSON):
        from pyarrow import json

        known = json.ParseOptions(explicit_schema=columns)
        lines = json.open_json(_unpacked(path, opened), parse_options=known)
        return lines.schema, iter(lines)
    file = pq.ParquetFile(opened)
    return file.schema_arrow, file.iter_batches(TABLE_ROWS)


def _unpacked(path: str, opened: Any) -> Any:
    return pa.input_stream(opened, compression="gzip" if path.lower().endswith(".gz") else None)


def _tables(file: Location, folder: Location, known: pa.Schema, carried: list[pa.Field]) -> Iterator[pa.Table]:
    with told(UNREADABLE, file), file.fs.open(file.path, "rb") as opened:
        columns, batches = _reader(file.path, opened, known)
        _check_columns(columns, file)
        for batch in batches:
            table = _completed(batch, folder, carried)
            if "id" in columns.names:
                ids = object_ids(table)
                if not np.array_equal(batch["id"].to_numpy(zero_copy_only=False), ids):
                    raise UsageError(f"{file.url} has a column `id`, which the labels have too; rename it")
                table = table.add_column(0, schema.MANIFEST.field("id"), pa.array(ids))
            yield table


def _check_columns(columns: pa.Schema, file: Location) -> None:
    if "uri" not in columns.names:
        images = " nor one of images" if file.path.lower().endswith(".parquet") else ""
        raise UsageError(f"{file.url} has no column `uri`{images} (its columns: {', '.join(columns.names)})")
    clash = schema.RESERVED.intersection(columns.names)
    if clash:
        raise UsageError(f"{file.url} has columns that the labels have too: {', '.join(sorted(clash))}; rename them")


def _own(field: pa.Field) -> pa.Field:
    """A carried field: nullable, without metadata, and never of type null, which few readers can read."""
    return pa.field(field.name, pa.string() if pa.types.is_null(field.type) else field.type)


def _completed(batch: pa.RecordBatch, folder: Location, carried: list[pa.Field]) -> pa.Table:
    wanted = schema.extend(UNIDENTIFIED, carried)
    columns = []
    for field in wanted:
        if field.name in batch.schema.names:
            columns.append(_cast(batch[field.name], field.type))
        elif field.name in schema.MANIFEST.names:
            columns.append(pa.nulls(len(batch), field.type))
        else:
            raise UsageError(f"the manifest's files differ: not all of them have the column {field.name}")
    columns[0] = absolute(columns[0], folder)
    columns[1] = pc.utf8_trim(columns[1], '"')  # S3 has quotes around it, and listings leave them out.
    return pa.table(columns, schema=wanted)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as another type; numbers and times may be text, times without a zone are UTC."""
    if not pa.types.is_string(column.type) or pa.types.is_string(kind):
        return column.cast(kind)
    column = pc.if_else(pc.is_in(column, pa.array(_NOTHING)), None, column)
    if pa.types.is_integer(kind):
        return column.cast(pa.float64()).cast(kind)  # Where values are missing, some write 12.0.
    zoned = pc.match_substring_regex(column, r":.*(Z|[+-][\d:]+)$")
    naive = pc.if_else(zoned, None, column).cast(pa.timestamp("us")).cast(kind)
    return pc.coalesce(pc.if_else(zoned, column, None).cast(kind), naive)
