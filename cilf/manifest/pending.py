"""What is left to do: the manifest without what this model has labelled already."""

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
_WRITERS = 4  # each holds a file of up to 128 MB, which is rather more before it is compressed
_BATCH = 16_384  # rows that are rewritten at once
_SMALL = 1_000_000  # bytes; one request fetches so much of a file's end, which mostly is all of it

Again = Callable[[pa.ChunkedArray, pa.ChunkedArray], np.ndarray]


@dataclass(frozen=True)
class Labelled:
    """The ids under one model's labels, both sorted int64."""

    done: np.ndarray
    """Labelled for good."""
    unavailable: np.ndarray
    """The store failed, or the caller of `labelled` wants them; to be tried again."""


def labelled(labels: Location, again: Again | None = None) -> Labelled:
    """Read which ids the files directly in `labels` hold. Only three columns are read, and 9 bytes per row kept.

    Args:
        again: which rows are to be tried again, bool, by their status and reason, besides those that are unavailable.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(partial(_outcomes, again=again), files(labels, ".parquet")))
    none = np.empty(0, np.int64)
    ids = np.concatenate([ids for ids, _ in found] or [none])
    unavailable = np.concatenate([failed for _, failed in found] or [none.astype(bool)])
    return Labelled(np.sort(ids[~unavailable]), np.sort(ids[unavailable]))


def _outcomes(file: Location, again: Again | None) -> tuple[np.ndarray, np.ndarray]:
    """The ids in a file, and whether each is to be tried again, bool."""
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
    """Find the rows of unavailable objects that `manifest` has in another version, so that nobody tries them again.

    Args:
        labels: as of `labelled`.
        ids: of rows there, sorted int64.
        manifest: folder of Parquet shards: what is about to be labelled.

    Returns:
        Ids, sorted int64.
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
    """The rows of a file that have one of these ids, as id and uri."""
    old = contains(ids, _columns(file, ["id"])["id"].to_numpy())
    return _columns(file, ["id", "uri"]).filter(pa.array(old)) if old.any() else None


def forget(labels: Location, ids: np.ndarray) -> None:
    """Remove the rows with these ids (sorted int64) from the files in `labels`.

    Called for the rows a run is about to replace, before it starts: so a reader never finds an object twice,
    and a run that dies leaves objects without a row, which the next run labels like new ones.
    """
    if len(ids):
        with ThreadPoolExecutor(_THREADS) as threads:
            found = list(threads.map(partial(_forget, ids=ids), files(labels, ".parquet")))
        with ThreadPoolExecutor(_WRITERS) as threads:
            list(threads.map(partial(_rewrite, ids=ids), filter(None, found)))


def _forget(file: Location, ids: np.ndarray) -> Location | None:
    """Remove a file of nothing but these ids; one that holds some of them is handed on."""
    old = contains(ids, _columns(file, ["id"])["id"].to_numpy())
    if old.all():
        remove(file)
    return file if old.any() and not old.all() else None


def _rewrite(file: Location, ids: np.ndarray) -> None:
    """Without these ids. A compacted file is written as it is read: with its thumbnails it is a gigabyte in memory."""
    buffer = io.BytesIO()
    with reading(file), file.fs.open(file.path, "rb") as opened:
        rows = pq.ParquetFile(opened)
        with pq.ParquetWriter(buffer, rows.schema_arrow, compression="zstd") as writer:
            for batch in rows.iter_batches(_BATCH):
                writer.write_batch(batch.filter(pa.array(~contains(ids, batch["id"].to_numpy()))))
    write(file, buffer.getvalue())
