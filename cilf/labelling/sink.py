"""The last stage: judged rows -> one Parquet file per block, and how many rows of each status it holds."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from cilf import schema
from cilf.storage import locate, write


def write_labels(table: pa.Table, folder: str, run: str) -> pa.Table:
    """Commit one block of labels, whole or not at all.

    The file is named after the run and the block's ids, so that a task which Ray repeats replaces its own
    file instead of adding a second one.

    Args:
        table: schema.JUDGED and the user's own columns.
        folder: OUTPUT/labels/model=<fingerprint>.
        run: run id.

    Returns:
        schema.COUNTS: the rows committed, by status.
    """
    wanted = schema.extend(schema.LABELS, [f for f in table.schema if f.name not in schema.JUDGED.names])
    ids = hashlib.sha256(table["id"].to_numpy().tobytes()).hexdigest()[:12]
    table = table.append_column(wanted.field("run"), pa.array([run] * len(table), pa.string()))
    now = pa.scalar(datetime.now(UTC), wanted.field("labelled_at").type)
    table = table.append_column(wanted.field("labelled_at"), pa.repeat(now, len(table)))
    buffer = io.BytesIO()
    pq.write_table(schema.conform(table, wanted), buffer, compression="zstd")
    write(locate(folder) / f"{run}-{ids}.parquet", buffer.getvalue())
    counts = table.group_by("status").aggregate([([], "count_all")])
    return counts.rename_columns({"count_all": "objects"}).select(schema.COUNTS.names).cast(schema.COUNTS)
