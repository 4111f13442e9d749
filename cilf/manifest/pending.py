"""What is left to do: the manifest without what this model has labelled already."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cilf import schema
from cilf.storage import Location, files, remove, write


def object_id(uri: str, etag: str | None) -> int:
    """The identity of one version of an object: the first 8 bytes of SHA-256 over `uri`, NUL and `etag`."""
    digest = hashlib.sha256(f"{uri}\0{etag or ''}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def object_ids(table: pa.Table) -> np.ndarray:
    """The object_id of each row of a table with `uri` and `etag`, int64."""
    rows = zip(table["uri"].to_pylist(), table["etag"].to_pylist(), strict=True)
    return np.array([object_id(uri, etag) for uri, etag in rows], dtype=np.int64)


@dataclass(frozen=True)
class Labelled:
    """The ids under one model's labels, both sorted int64."""

    done: np.ndarray
    """Labelled for good."""
    unavailable: np.ndarray
    """The store failed; to be tried again."""


def labelled(labels: Location) -> Labelled:
    """Read which ids the files directly in `labels` hold. Only two columns are read."""
    import pyarrow.dataset as pads  # Brings pandas with it: seconds that a wrong option need not wait for.

    paths = [file.path for file in files(labels, ".parquet")]
    columns = pa.schema([schema.LABELS.field("id"), schema.LABELS.field("status")])
    table = pads.dataset(paths, columns, "parquet", labels.fs).to_table() if paths else columns.empty_table()
    ids = table["id"].to_numpy()
    unavailable = np.array([status == "unavailable" for status in table["status"].to_pylist()], dtype=bool)
    return Labelled(np.sort(ids[~unavailable]), np.sort(ids[unavailable]))


def without(tables: Iterable[pa.Table], done: np.ndarray, limit: int | None = None) -> Iterator[pa.Table]:
    """The rows whose id is not in `done` (sorted int64), at most `limit` of them."""
    for table in tables:
        new = table.filter(pa.array(~contains(done, table["id"].to_numpy())))
        if limit is not None:
            new = new.slice(0, limit)
            limit -= len(new)
        yield new
        if limit == 0:
            return


def forget(labels: Location, ids: np.ndarray) -> None:
    """Remove the rows with these ids (sorted int64) from the files in `labels`.

    Called for the rows a run is about to replace, before it starts: so a reader never finds an object twice,
    and a run that dies leaves objects without a row, which the next run labels like new ones.
    """
    for file in files(labels, ".parquet") if len(ids) else ():
        with file.fs.open(file.path, "rb") as opened:
            table = pq.ParquetFile(opened).read()
        old = contains(ids, table["id"].to_numpy())
        if old.all():
            remove(file)
        elif old.any():
            buffer = io.BytesIO()
            pq.write_table(table.filter(pa.array(~old)), buffer, compression="zstd")
            write(file, buffer.getvalue())


def contains(sorted_ids: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Which of `ids` are in `sorted_ids`: bool, like `ids`."""
    if not len(sorted_ids):
        return np.zeros(len(ids), dtype=bool)
    place = np.minimum(np.searchsorted(sorted_ids, ids), len(sorted_ids) - 1)
    return sorted_ids[place] == ids
