"""Repeated passes over the objects that have no row yet, which isolate an object that kills its process.

Ray retries a block whose process died, and then continues without it. The objects that are left are labelled again in
smaller blocks, until each is alone in its block: one that still kills its process gets a row with status `crashed`, and
no other object loses its row. If a machine was lost meanwhile, whole blocks were lost with it and no object is to
blame, so the blocks keep their size.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cilf import schema
from cilf.cluster import living
from cilf.config import LabelOptions
from cilf.errors import StageError
from cilf.labelling.metrics import publish
from cilf.labelling.pipeline import Work, blocks, labelling
from cilf.labelling.progress import Progress
from cilf.labelling.runtime import Plan, block_rows
from cilf.labelling.sink import write_labels
from cilf.manifest.listing import write_manifest
from cilf.manifest.pending import labelled, without
from cilf.storage import Location, files
from cilf.words import counted

if TYPE_CHECKING:
    from ray.data import Dataset

# A pass costs the start of its actors, and a block about as much as ten crops. So up to _FEW objects are tried one by
# one right away; if more are left, blocks become _SMALLER times smaller.
_FEW, _SMALLER = 1_000, 64


def label_all(work: Work, options: LabelOptions, plan: Plan, progress: Progress) -> None:
    """Label until every object of the run's manifest has a row.

    Raises:
        StageError: a stage failed, and no single object is the cause.
    """
    rows = block_rows(progress.total, _typical_bytes(work.manifest), max(plan.batch_sizes), options.faces)
    manifest, number = work.manifest, 1
    while True:
        nodes = living()
        count(labelling(blocks(manifest, rows), work, options, plan, rows), progress)
        if progress.counts.total() >= progress.total:
            return
        number += 1
        manifest = work.manifest.parent / f"{work.run}.{number}"
        left = write_manifest(_without_row(work), manifest)
        lost = bool(nodes - living())
        if not len(left) or (rows == 1 and not lost):
            for table in tables(manifest):
                _take(write_labels(crashed(table), work.labels.url, work.lease.url, work.run), progress)
            for sums in _uncounted(work, progress.counts):
                _take(sums, progress)
            return
        if not lost:
            rows = 1 if len(left) <= _FEW else max(1, rows // _SMALLER)
        progress.say(f"{counted(len(left), 'object')} were in processes that died: trying them again, {rows} at a time")


def count(committed: Dataset, progress: Progress) -> None:
    """Run the pipeline and count what it commits.

    Raises:
        StageError: a stage failed, and no single object is the cause.
    """
    for sums in committed.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        _take(cast(pa.Table, sums), progress)


def _take(sums: pa.Table, progress: Progress) -> None:
    broken = sums.filter(pc.equal(sums["status"], schema.BROKEN))
    if len(broken):
        raise StageError(broken["reason"][0].as_py())
    rows = sums.to_pylist()
    progress.add(rows)
    for row in rows:
        publish(row)


def crashed(table: pa.Table) -> pa.Table:
    """schema.MANIFEST -> schema.JUDGED for objects that killed their process, with the user's own columns."""
    wanted = schema.extend(schema.JUDGED, schema.carried(table.schema))
    constant = {"status": "crashed", "reason": "killed the process that had it, also alone", "faces": []}
    columns = [
        table[field.name]
        if field.name in table.column_names
        else _repeated(constant.get(field.name), field, len(table))
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)


def _repeated(value: object, field: pa.Field, count: int) -> pa.Array:
    return pa.array([0 if value is None and field.name.endswith("_s") else value] * count, field.type)


def _uncounted(work: Work, counted: Counter[str]) -> Iterator[pa.Table]:
    """schema.COUNTS of rows whose file was written just before its process died, so that their counts were lost. Their
    stage seconds are no longer known."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for file in files(work.labels, ".parquet"):
        if file.path.rpartition("/")[2].startswith(f"{work.run}-"):
            with file.fs.open(file.path, "rb") as opened:
                table = pq.ParquetFile(opened).read(["status", "bytes"])
            for status, size in zip(table["status"].to_pylist(), table["bytes"].to_pylist(), strict=True):
                sizes[status].append(size or 0)
    for status, found in sizes.items():
        missing = len(found) - counted[status]
        if missing > 0:
            row = {"status": status, "objects": missing, "bytes": round(missing * np.mean(found))}
            yield pa.Table.from_pylist([row], schema.COUNTS)


def _without_row(work: Work) -> Iterator[pa.Table]:
    found = labelled(work.labels)
    return without(tables(work.manifest), np.sort(np.concatenate([found.done, found.unavailable])))


def _typical_bytes(manifest: Location) -> float | None:
    """The mean size of an object, over those of the first shard whose size is known."""
    first = files(manifest, ".parquet")[0]
    with first.fs.open(first.path, "rb") as opened:
        return pc.mean(pq.ParquetFile(opened).read(["bytes"])["bytes"]).as_py()


def tables(manifest: Location) -> Iterator[pa.Table]:
    """The shards of a manifest that CILF has written, schema.MANIFEST and the user's own columns."""
    for shard in files(manifest, ".parquet"):
        with shard.fs.open(shard.path, "rb") as opened:
            yield pq.ParquetFile(opened).read()
