from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import schema
from cilf.labelling.lease import Lease
from cilf.labelling.passes import crashed
from cilf.labelling.sink import counts, write_labels
from cilf.storage import locate


@pytest.fixture
def judged() -> pa.Table:
    """Three rows, one of which is unreadable."""
    rows = pa.table({"id": [1, 2, 3], "uri": ["/a", "/b", "/c"], "etag": ["x", None, "z"], "bytes": [10, 20, None]})
    rows = rows.append_column("modified", pa.nulls(3, schema.MANIFEST.field("modified").type))
    table = crashed(rows.select(schema.MANIFEST.names))
    table = table.set_column(table.column_names.index("status"), "status", pa.array(["ok", "unreadable", "ok"]))
    return table.set_column(table.column_names.index("model_s"), "model_s", pa.array([1, 2, 4], pa.float32()))


def test_sums_by_status(judged):
    found = {row["status"]: row for row in counts(judged).to_pylist()}
    assert found["ok"]["objects"] == 2
    assert found["ok"]["bytes"] == 10
    assert found["ok"]["model_s"] == 5
    assert found["unreadable"]["objects"] == 1
    assert found["unreadable"]["reason"] is None
    assert counts(judged.slice(0, 0)).schema.equals(schema.COUNTS)


def test_a_repeated_task_replaces_its_own_file(judged, tmp_path):
    lease = tmp_path / "lease.json"
    with Lease(locate(str(lease)), "run", print):
        for _ in range(2):
            write_labels(judged, str(tmp_path / "labels"), str(lease), "run")
    (file,) = (tmp_path / "labels").glob("*.parquet")
    assert pq.read_table(file).schema.equals(schema.LABELS)


def test_a_run_without_its_lease_writes_nothing_and_says_so(judged, tmp_path):
    found = write_labels(judged, str(tmp_path / "labels"), str(tmp_path / "none.json"), "run").to_pylist()
    assert [row["status"] for row in found] == [schema.BROKEN]
    assert "run run no longer holds" in found[0]["reason"]
    assert not (tmp_path / "labels").exists()


def test_what_a_stage_failed_on_is_not_written(judged, tmp_path):
    lease = tmp_path / "lease.json"
    broken = judged.set_column(judged.column_names.index("status"), "status", pa.array(["ok", schema.BROKEN, "ok"]))
    with Lease(locate(str(lease)), "run", print):
        found = {
            row["status"]: row for row in write_labels(broken, str(tmp_path / "labels"), str(lease), "run").to_pylist()
        }
    assert found[schema.BROKEN]["reason"] == "killed the process that had it, also alone"
    assert not (tmp_path / "labels").exists()
