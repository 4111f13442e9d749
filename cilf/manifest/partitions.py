"""Columns encoded in the names of folders, `camera=X/part-0.parquet`, as Hive, Spark and pyarrow write them."""

from __future__ import annotations

from urllib.parse import unquote

import pyarrow as pa

_NOTHING = "__HIVE_DEFAULT_PARTITION__"

Partition = list[tuple[str, str | None]]
"""Names and values of columns, as text; None for a missing value."""


def partition(path: str, folder: str) -> Partition:
    """The columns in the names of the folders between a folder and one of its files."""
    below = path[len(folder) :].strip("/").split("/")[:-1]
    pairs = [name.partition("=") for name in below if "=" in name.strip("=")]
    return [(unquote(name), None if value == _NOTHING else unquote(value)) for name, _, value in pairs]


def extended(columns: pa.Schema, found: Partition) -> pa.Schema:
    """The columns of a file and those of its folders. A column in the file takes precedence."""
    return pa.schema([*columns, *(pa.field(name, pa.string()) for name, _ in found if name not in columns.names)])


def with_partition(batch: pa.RecordBatch | pa.Table, found: Partition) -> pa.RecordBatch | pa.Table:
    """Rows of a file with the columns of its folders."""
    for name, value in found:
        if name not in batch.schema.names:
            batch = batch.append_column(name, pa.repeat(pa.scalar(value, pa.string()), batch.num_rows))
    return batch
