"""The last stage: rows with age estimates -> one Parquet file per block, and sums of its contents.

Each row is written exactly once, whatever dies. A file is written atomically under a name made from the run and the ids
of its rows, so a task that Ray retries, which always gets the same rows, replaces its own file; and the next run labels
the objects that are in no file. Ray's own row checkpoints (`ray.data.checkpoint`) give the same within a run, but cost
too much here: a pool of actors that filters ids, which waits for its CPUs for ever if there are only two, a second
small file per block, and the deletion of the files of a concurrent run.
"""

from __future__ import annotations

import hashlib
import io
import traceback
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cilf import schema
from cilf.labelling.lease import check_lease
from cilf.storage import locate, write


def write_labels(table: pa.Table, folder: str, lease: str, run: str) -> pa.Table:
    """Commit one block of labels, whole or not at all.

    Args:
        table: schema.JUDGED and the user's own columns.
        folder: OUTPUT/labels/model=<fingerprint>.
        lease: the lease's file; a run that has lost it writes nothing.
        run: run id.

    Returns:
        schema.COUNTS of the rows. If one of them is schema.BROKEN, nothing was committed.
    """
    if schema.BROKEN not in table["status"].unique().to_pylist():
        try:
            check_lease(locate(lease), run)
            labels = labelled_rows(table, run)
            write(locate(folder) / f"{run}-{_name(labels)}.parquet", _parquet(labels))
        except Exception:
            broken = pa.array([schema.BROKEN] * len(table))
            reason = pa.array([traceback.format_exc()] * len(table))
            table = table.drop_columns(["status", "reason"]).append_column("status", broken)
            table = table.append_column("reason", reason)
    return counts(table)


def counts(table: pa.Table) -> pa.Table:
    """schema.JUDGED -> schema.COUNTS."""
    sums = [("bytes", "sum"), *((name, "sum") for name in schema.COUNTS.names if name.endswith("_s"))]
    grouped = table.group_by("status").aggregate([([], "count_all"), *sums, ("batch_size", "max"), ("reason", "min")])
    names = {
        "count_all": "objects",
        "batch_size_max": "batch_size",
        "reason_min": "reason",
        **{f"{name}_sum": name for name, _ in sums},
    }
    grouped = grouped.rename_columns([names.get(name, name) for name in grouped.column_names])
    wanted = pc.equal(grouped["status"], schema.BROKEN)  # Reasons of single photographs stay in their rows.
    reason = pc.if_else(wanted, grouped["reason"].combine_chunks(), pa.scalar(None, pa.string()))
    grouped = grouped.set_column(grouped.column_names.index("reason"), "reason", reason)
    return schema.conform(grouped, schema.COUNTS)


def labelled_rows(table: pa.Table, run: str) -> pa.Table:
    """schema.JUDGED -> schema.LABELS, both with the user's own columns."""
    wanted = schema.extend(schema.LABELS, [f for f in table.schema if f.name not in schema.JUDGED.names])
    table = table.append_column(wanted.field("run"), pa.array([run] * len(table), pa.string()))
    now = pa.scalar(datetime.now(UTC), wanted.field("labelled_at").type)
    table = table.append_column(wanted.field("labelled_at"), pa.repeat(now, len(table)))
    return schema.conform(table, wanted)


def _name(table: pa.Table) -> str:
    return hashlib.sha256(table["id"].to_numpy().tobytes()).hexdigest()[:12]


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
