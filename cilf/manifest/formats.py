"""The columns and rows of a manifest's file, in any of its formats."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from cilf.manifest import csv_rows, json_rows
from cilf.storage import Location

TABLE_ROWS = 32_768
CSV = (".csv", ".csv.gz")
JSON = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


def columns(file: Location) -> pa.Schema:
    """The columns of a file. CSV and JSON lines are read to the end for this, as any line may be wrong.

    Raises:
        UsageError: a line is wrong.
    """
    if file.path.lower().endswith(JSON):
        return json_rows.columns(partial(_stream, file), file.url)
    if file.path.lower().endswith(CSV):
        with _stream(file) as stream:
            found, rows = csv_rows.read(stream, file.url)
            deque(rows, maxlen=0)
            return found
    with file.fs.open(file.path, "rb") as opened:
        return pq.ParquetFile(opened).schema_arrow


def rows(file: Location, known: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a file whose columns are known."""
    if not file.path.lower().endswith((*CSV, *JSON)):
        with file.fs.open(file.path, "rb") as opened:
            yield from pq.ParquetFile(opened).iter_batches(TABLE_ROWS)
        return
    with _stream(file) as stream:
        if file.path.lower().endswith(CSV):
            yield from csv_rows.read(stream, file.url)[1]
        else:
            yield from json_rows.read(stream, known, file.url)


def _stream(file: Location) -> pa.NativeFile:
    """The decompressed bytes of a file."""
    opened = file.fs.open(file.path, "rb")
    return pa.input_stream(opened, compression="gzip" if file.path.lower().endswith(".gz") else None)
