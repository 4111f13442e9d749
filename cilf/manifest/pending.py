"""Pending objects: those of the manifest that this model has not labelled yet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cilf.labelling.label_files import reading
from cilf.manifest.ids import contains
from cilf.storage import Location, files, remove, write

__all__ = ["Labelled", "contains", "forget", "labelled", "outdated", "without"]

_THREADS = 32
_WRITERS = 4  # each holds a file of up to 128 MB, and rather more before it is compressed
_BATCH = 16_384  # rows to rewrite at once
_SMALL = 1_000_000  # bytes; one request fetches this much of a file's end, which is mostly the whole file

Again = Callable[[pa.ChunkedArray, pa.ChunkedArray], np.ndarray]


@dataclass(frozen=True)
class Labelled:
    """The ids in one model's labels, both sorted int64."""

    done: np.ndarray
    """Objects that are done."""
    unavailable: np.ndarray
    """Objects to try again, because the store failed or the caller of `labelled` asks for it."""


def labelled(labels: Location, again: Again | None = None) -> Labelled:
    """Read the ids in the files directly in `labels`. Only three columns are read, and 9 bytes per row kept.

    Args:
        again: from status and reason, the rows to try again, bool, in addition to those that are unavailable.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(partial(_outcomes, again=again), files(labels, ".parquet")))
    none = np.empty(0, np.int64)
    ids = np.concatenate([ids for ids, _ in found] or [none])
    unavailable = np.concatenate([failed for _, failed in found] or [none.astype(bool)])
    return Labelled(np.sort(ids[~unavailable]), np.sort(ids[unavailable]))


def _outcomes(file: Location, again: Again | None) -> tuple[np.ndarray, np.ndarray]:
    """The ids in a file, and whether to try each again, bool."""
    table = _columns(file, ["id", "status", *(["reason"] if again else [])])
    status = table["status"].cast(pa.string())
    failed = pc.equal(status, "unavailable").to_numpy()
    return table["id"].to_numpy(), failed | again(status, table["reason"]) if again else failed


def _columns(file: Location, names: list[str]) -> pa.Table:
    end = file.fs.cat_file(file.path, start=-_SMALL)
    if len(end) < _SMALL:
        with reading(file):
            return pq.ParquetFile(pa.BufferReader(end)).read(names)
    with reading(file), file.fs.open(file.path, "rb") as opened:
        return pq.ParquetFile(opened).read(names)


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


def outdated(labels: Location, ids: np.ndarray, manifest: Location) -> np.ndarray:
    """Find the rows of unavailable objects of which `manifest` has another version, so that they are not tried again.

    Args:
        labels: as for `labelled`.
        ids: ids of rows in it, sorted int64.
        manifest: folder of Parquet shards with the objects about to be labelled.

    Returns:
        The ids of these rows, sorted int64.
    """
    if not len(ids):
        return ids
    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(filter(None, threads.map(partial(_uris, ids=ids), files(labels, ".parquet"))))
    if not found:
        return ids[:0]
    rows = pa.concat_tables(found)
    listed = np.zeros(len(rows), dtype=bool)
    for shard in files(manifest, ".parquet"):
        listed |= pc.is_in(rows["uri"], _columns(shard, ["uri"])["uri"].combine_chunks()).to_numpy()
    return np.sort(rows["id"].to_numpy()[listed])


def _uris(file: Location, ids: np.ndarray) -> pa.Table | None:
    """The rows of a file with one of these ids, as id and uri; None if there are none."""
    old = contains(ids, _columns(file, ["id"])["id"].to_numpy())
    return _columns(file, ["id", "uri"]).filter(pa.array(old)) if old.any() else None


def forget(labels: Location, ids: np.ndarray) -> None:
    """Remove the rows with these ids (sorted int64) from the files in `labels`.

    This is called for the rows that a run is about to replace, before it starts, so that a reader never finds an object
    twice. A run that dies leaves objects without a row, which the next run labels like new ones.
    """
    if len(ids):
        with ThreadPoolExecutor(_THREADS) as threads:
            found = list(threads.map(partial(_forget, ids=ids), files(labels, ".parquet")))
        with ThreadPoolExecutor(_WRITERS) as threads:
            list(threads.map(partial(_rewrite, ids=ids), filter(None, found)))


def _forget(file: Location, ids: np.ndarray) -> Location | None:
    """Remove a file that only has these ids. Returns a file that has some of them, which must be rewritten."""
    old = contains(ids, _columns(file, ["id"])["id"].to_numpy())
    if old.all():
        remove(file)
    return file if old.any() and not old.all() else None


def _rewrite(file: Location, ids: np.ndarray) -> None:
    """Rewrite a file without these ids, batch by batch: a compacted file with thumbnails is a gigabyte in memory."""
    buffer = io.BytesIO()
    with reading(file), file.fs.open(file.path, "rb") as opened:
        rows = pq.ParquetFile(opened)
        with pq.ParquetWriter(buffer, rows.schema_arrow, compression="zstd") as writer:
            for batch in rows.iter_batches(_BATCH):
                writer.write_batch(batch.filter(pa.array(~contains(ids, batch["id"].to_numpy()))))
    write(file, buffer.getvalue())
