"""Tables of objects as Parquet files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cilf import schema
from cilf.storage import Location, write

SHARD_ROWS = 100_000


def write_manifest(tables: Iterable[pa.Table], folder: Location) -> np.ndarray:
    """Write tables as `part-NNNNN.parquet` into `folder` and return the ids of their rows, int64 [N]."""
    ids: list[np.ndarray] = []
    for number, shard in enumerate(_shards(tables)):
        ids.append(shard["id"].to_numpy())
        write(folder / f"part-{number:05d}.parquet", encoded(shard))
    return np.concatenate(ids) if ids else np.empty(0, dtype=np.int64)


def encoded(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    # URIs and etags are all different: a dictionary for them would only take time.
    own = [field.name for field in schema.carried(table.schema)]
    pq.write_table(table, buffer, compression="zstd", use_dictionary=own or False)
    return buffer.getvalue()


def _shards(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= SHARD_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting)
