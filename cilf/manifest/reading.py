"""Manifests that others have made: Parquet, CSV or JSON lines with a `uri` column."""

from __future__ import annotations

import hashlib
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
from cilf.manifest.failures import told
from cilf.manifest.ids import UNIDENTIFIED, object_ids
from cilf.storage import Location, split

MANIFEST_SUFFIXES = (".parquet", ".csv", ".jsonl")
TABLE_ROWS = 32_768
UNREADABLE = "cannot read the manifest"


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


def open_manifest(source: Location) -> Manifest:
    """A manifest whose name ends in one of MANIFEST_SUFFIXES: a file, or a folder of Parquet files.

    Relative URIs are taken from the manifest's folder. An etag makes a changed object new; a manifest may go
    without. A column `id` must be ours, as in the files that `cilf list` writes.

    Raises:
        UsageError: no such file, no `uri` column, one of our names for a column, or an unreadable file; and while
            the parts are read, a row without URI, a value of a wrong type, or files with different columns.
    """
    with told(UNREADABLE, source):
        found = source.fs.find(source.path, detail=True)
        if not found and not source.fs.exists(source.path):
            raise UsageError(f"INPUT {source.url} does not exist")
    paths = [source.path] if source.path in found else sorted(path for path in found if _is_data(path, source))
    if not paths:
        raise UsageError(f"{source.url} is named like a manifest and holds no Parquet file")
    files = [replace(source, path=path) for path in paths]
    with told(UNREADABLE, files[0]), files[0].fs.open(files[0].path, "rb") as opened:
        columns = _reader(files[0].path, opened)[0]
        _check_columns(columns, files[0])
    carried = [_own(field) for field in schema.carried(columns)]
    version = hashlib.sha256("\0".join(f"{path} {_version(found[path])}" for path in paths).encode()).hexdigest()
    return Manifest(version, carried, [partial(_tables, file, source.parent, carried) for file in files])


def _is_data(path: str, folder: Location) -> bool:
    """Whether a file below a folder is one of its Parquet files; others' logs and temporary files start as ours do."""
    below = path[len(folder.path) :].strip("/").split("/")
    return path.endswith(".parquet") and not any(name.startswith(("_", ".")) for name in below)


def _version(info: dict[str, Any]) -> Any:
    return info.get("ETag") or info.get("etag") or (info.get("size"), info.get("mtime"))


def _reader(path: str, opened: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    if path.endswith(".csv"):
        from pyarrow import csv

        text = {"uri": pa.string(), "etag": pa.string()}
        lines = csv.open_csv(opened, convert_options=csv.ConvertOptions(column_types=text))
        return lines.schema, iter(lines)
    if path.endswith(".jsonl"):
        from pyarrow import json

        lines = json.open_json(opened)
        return lines.schema, iter(lines)
    file = pq.ParquetFile(opened)
    return file.schema_arrow, file.iter_batches(TABLE_ROWS)


def _tables(file: Location, folder: Location, carried: list[pa.Field]) -> Iterator[pa.Table]:
    with told(UNREADABLE, file), file.fs.open(file.path, "rb") as opened:
        columns, batches = _reader(file.path, opened)
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
        raise UsageError(f"{file.url} has no column `uri` (its columns: {', '.join(columns.names)})")
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
            columns.append(batch[field.name].cast(field.type))
        elif field.name in schema.MANIFEST.names:
            columns.append(pa.nulls(len(batch), field.type))
        else:
            raise UsageError(f"the manifest's files differ: not all of them have the column {field.name}")
    columns[0] = absolute(columns[0], folder)
    return pa.table(columns, schema=wanted)


def absolute(uris: pa.Array, folder: Location) -> pa.Array:
    """Paths and URLs, string [N], of which relative paths are taken from a folder.

    Raises:
        UsageError: one is null or empty.
    """
    if uris.null_count or pc.any(pc.equal(uris, "")).as_py():
        raise UsageError("the manifest has a row without uri")
    remote = pc.match_substring_regex(uris, r"^[A-Za-z][A-Za-z0-9+.-]*://")
    local = pc.or_(pc.invert(remote), pc.match_substring_regex(uris, "^file://", ignore_case=True))
    relative = pc.and_(local, pc.invert(pc.starts_with(uris, "/")))
    if not pc.any(relative).as_py():
        return uris
    whole = [_below(folder, uri) for uri in uris.filter(relative).to_pylist()]
    return pc.replace_with_mask(uris, relative, pa.array(whole, pa.string()))


def _below(folder: Location, uri: str) -> str:
    path = split(uri)[1]
    return path if path.startswith("/") else (folder / path).url
