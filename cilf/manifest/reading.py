"""Manifests that others have made: Parquet, CSV or JSON lines with a `uri` column."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from cilf import schema
from cilf.errors import UsageError
from cilf.manifest.pending import object_ids
from cilf.storage import Location, problem, split

MANIFEST_SUFFIXES = (".parquet", ".csv", ".jsonl")
_TABLE_ROWS = 10_000


def read_manifest(source: Location) -> Iterator[pa.Table]:
    """The rows of a manifest: schema.MANIFEST without `id`, and the user's own columns behind it.

    Relative URIs are taken from the manifest's folder. An etag makes a changed object new; a manifest may go
    without. A column `id` must be ours, as in the manifests that CILF writes.

    Raises:
        UsageError: no `uri` column, a row without one, a column with one of our names, or an unreadable file.
    """
    wanted: pa.Schema | None = None
    for file in _files(source):
        try:
            for table in _tables(file):
                _check_columns(table.schema, file)
                own = [] if wanted else [_own(field) for field in schema.carried(table.schema)]
                wanted = wanted or schema.extend(pa.schema(list(schema.MANIFEST)[1:]), own)
                completed = _completed(table, source.parent, wanted)
                if "id" in table.schema.names and table["id"].to_pylist() != object_ids(completed).tolist():
                    raise UsageError(f"{file.url} has a column `id`, which the labels have too; rename it")
                yield completed
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(f"cannot read the manifest: {problem(error, file.url)}") from error


def _files(source: Location) -> list[Location]:
    if source.fs.isfile(source.path):
        return [source]
    listed = sorted(path for path in source.fs.find(source.path) if path.endswith(".parquet"))
    if not listed:
        raise UsageError(f"{source.url} is named like a manifest and holds no Parquet file")
    return [Location(source.scheme, source.fs, path) for path in listed]


def _tables(file: Location) -> Iterator[pa.Table]:
    text = {"uri": pa.string(), "etag": pa.string()}
    with file.fs.open(file.path, "rb") as opened:
        if file.path.endswith(".parquet"):
            batches = pq.ParquetFile(opened).iter_batches(_TABLE_ROWS)
        elif file.path.endswith(".csv"):
            from pyarrow import csv

            batches = csv.open_csv(opened, convert_options=csv.ConvertOptions(column_types=text))
        else:
            from pyarrow import json

            batches = json.open_json(opened)
        for batch in batches:
            yield pa.Table.from_batches([batch])


def _check_columns(columns: pa.Schema, file: Location) -> None:
    if "uri" not in columns.names:
        raise UsageError(f"{file.url} has no column `uri` (its columns: {', '.join(columns.names)})")
    clash = schema.RESERVED.intersection(columns.names)
    if clash:
        raise UsageError(f"{file.url} has columns that the labels have too: {', '.join(sorted(clash))}; rename them")


def _own(field: pa.Field) -> pa.Field:
    """A carried field: nullable, without metadata, and never of type null, which few readers can read."""
    return pa.field(field.name, pa.string() if pa.types.is_null(field.type) else field.type)


def _completed(table: pa.Table, folder: Location, wanted: pa.Schema) -> pa.Table:
    columns = []
    for field in wanted:
        if field.name == "uri":
            columns.append(pa.array([_absolute(uri, folder) for uri in table["uri"].to_pylist()], pa.string()))
        elif field.name in table.schema.names:
            columns.append(table[field.name].cast(field.type))
        elif field.name in schema.MANIFEST.names:
            columns.append(pa.nulls(len(table), field.type))
        else:
            raise UsageError(f"the manifest's files differ: not all of them have the column {field.name}")
    return pa.table(columns, schema=wanted)


def _absolute(uri: str | None, folder: Location) -> str:
    if not uri:
        raise UsageError("the manifest has a row without uri")
    scheme, path = split(uri)
    if scheme != "file":
        return uri
    return path if path.startswith("/") else (folder / path).url
