"""`cilf publish`: the table equals the labels after every commit, and readers never see anything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from published_rows import photograph

from cilf import cli
from cilf.config import CompactOptions
from cilf.labelling.compaction import run as compact
from cilf.labelling.lease import Lease
from cilf.manifest.pending import forget
from cilf.storage import locate

FIRST, SECOND, THIRD = (f"2026110{day}T010000Z-aaaaaa" for day in (1, 2, 3))


def snapshots(catalog, name: str = "photos.ages") -> list:
    return list(catalog.load_table(name).snapshots())


def test_the_table_equals_the_labels(tmp_path, catalog, write_run, publish, same):
    write_run(str(tmp_path / "out"), FIRST, [photograph(n) for n in range(50)])
    write_run(str(tmp_path / "out"), FIRST, [photograph(n, "no_face") for n in range(50, 60)])
    write_run(str(tmp_path / "out"), SECOND, [photograph(n) for n in range(40, 70)], model="fedcba987654")
    said = publish(tmp_path / "out")
    assert "published 90 rows and removed 0: photos.ages has 90 rows" in said
    assert same(tmp_path / "out") == 90
    (snapshot,) = snapshots(catalog)
    assert snapshot.summary["cilf.runs"] == f"{FIRST},{SECOND}"
    assert snapshot.summary["added-records"] == "90"
    assert f"snapshot {snapshot.snapshot_id}" in said
    table = catalog.load_table("photos.ages")
    assert {task.file.partition[0] for task in table.scan().plan_files()} == {"0123456789ab", "fedcba987654"}
    assert not list((tmp_path / "out" / "leases").iterdir())


def test_publishing_twice_changes_nothing(tmp_path, catalog, write_run, publish, same):
    write_run(str(tmp_path / "out"), FIRST, [photograph(n) for n in range(30)])
    write_run(str(tmp_path / "out"), FIRST, [photograph(n) for n in range(30, 50)])
    publish(tmp_path / "out")
    before = catalog.load_table("photos.ages").metadata_location
    files = sorted((tmp_path / "warehouse").rglob("*"))
    assert "nothing new: photos.ages already has these 50 rows" in publish(tmp_path / "out")
    compact(CompactOptions(str(tmp_path / "out")))
    assert len(list((tmp_path / "out" / "labels" / "model=0123456789ab").iterdir())) == 1
    assert "nothing new" in publish(tmp_path / "out")
    assert catalog.load_table("photos.ages").metadata_location == before
    assert sorted((tmp_path / "warehouse").rglob("*")) == files
    assert same(tmp_path / "out") == 50


def test_a_new_run_is_appended_and_the_past_can_be_read(tmp_path, catalog, write_run, publish, same):
    write_run(str(tmp_path / "out"), FIRST, [photograph(n) for n in range(50)])
    publish(tmp_path / "out")
    then = catalog.load_table("photos.ages").scan().to_arrow()
    write_run(str(tmp_path / "out"), SECOND, [photograph(n) for n in range(50, 60)])
    assert "published 10 rows and removed 0" in publish(tmp_path / "out")
    assert same(tmp_path / "out") == 60
    first, second = snapshots(catalog)
    assert second.summary["cilf.runs"] == SECOND
    assert str(second.summary.operation) == "Operation.APPEND"
    assert second.summary["added-records"] == "10"
    table = catalog.load_table("photos.ages")
    assert table.scan(snapshot_id=first.snapshot_id).to_arrow().equals(then)


def test_replaced_and_vanished_rows_go_in_the_same_commit(tmp_path, catalog, write_run, publish, same):
    output = str(tmp_path / "out")
    rows = [photograph(n, "unavailable" if n % 10 == 0 else "ok") for n in range(50)]
    write_run(output, FIRST, rows)
    write_run(output, FIRST, [photograph(n) for n in range(50, 60)], model="fedcba987654")
    publish(output)
    labels = locate(output) / "labels" / "model=0123456789ab"
    again = pa.array(sorted(row["id"] for row in rows if row["status"] == "unavailable")).to_numpy()
    forget(labels, again)
    write_run(output, SECOND, [photograph(n) for n in range(0, 50, 10)])
    forget(labels, pa.array([photograph(7)["id"]]).to_numpy())
    assert "published 5 rows and removed 6: photos.ages has 59 rows" in publish(output)
    assert same(output) == 59
    first, second = snapshots(catalog)
    assert second.summary["cilf.runs"] == SECOND
    assert second.parent_snapshot_id == first.snapshot_id
    statuses = catalog.load_table("photos.ages").scan(snapshot_id=first.snapshot_id).to_arrow()["status"].to_pylist()
    assert statuses.count("unavailable") == 5
    assert "nothing new" in publish(output)


def test_a_model_whose_labels_are_gone_goes(tmp_path, catalog, write_run, publish, same):
    write_run(str(tmp_path / "out"), FIRST, [photograph(n) for n in range(5)])
    write_run(str(tmp_path / "out"), SECOND, [photograph(n) for n in range(5)], model="fedcba987654")
    publish(tmp_path / "out")
    for file in (tmp_path / "out" / "labels" / "model=0123456789ab").iterdir():
        file.unlink()
    assert "published 0 rows and removed 5" in publish(tmp_path / "out")
    assert same(tmp_path / "out") == 5


def test_columns_of_the_user_come_and_keep_their_types(tmp_path, catalog, write_run, publish, same):
    output, berlin = str(tmp_path / "out"), pa.timestamp("ns", "Europe/Berlin")
    write_run(output, FIRST, [photograph(n) for n in range(5)])
    write_run(output, FIRST, [photograph(n, empty=None) for n in range(5, 8)], pa.field("empty", pa.null()))
    publish(output)
    assert "empty" not in catalog.load_table("photos.ages").schema().column_names
    own = [
        pa.field("camera", pa.dictionary(pa.int32(), pa.string())),
        pa.field("shelf", pa.int16()),
        pa.field("taken", berlin),
        pa.field("thumbnails", pa.list_(pa.binary())),
        pa.field("empty", pa.int64(), nullable=False),
    ]
    taken = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
    values = {"camera": "old", "shelf": 3, "taken": taken, "thumbnails": [b"\xff\xd8", b""], "empty": 2**40}
    write_run(output, SECOND, [photograph(n, **values) for n in range(10, 20)], *own)
    publish(output)
    assert same(output) == 18
    table = catalog.load_table("photos.ages").scan().to_arrow()
    assert {str(table.schema.field(name).type) for name in ("id", "empty")} == {"int64"}
    assert str(table.schema.field("taken").type) == "timestamp[us, tz=UTC]"
    assert "nothing new" in publish(output)


def test_columns_of_any_name(tmp_path, catalog, write_run, publish):
    names = ['the "camera". of', "grüße 日本", "id.run", "snapshot-id", "2024"]
    write_run(str(tmp_path / "out"), FIRST, [photograph(1, **{names[0]: "old"})], pa.field(names[0], pa.string()))
    publish(tmp_path / "out")
    own = [pa.field(name, pa.string()) for name in names]
    write_run(str(tmp_path / "out"), SECOND, [photograph(2, **{name: name for name in names})], *own)
    publish(tmp_path / "out")
    table = catalog.load_table("photos.ages").scan().to_arrow().sort_by("uri")
    assert table.select(names).to_pylist()[1] == {name: name for name in names}
    assert "nothing new" in publish(tmp_path / "out")


def test_a_column_that_changes_its_type_is_refused(tmp_path, catalog, write_run, publish, refused, same):
    output = str(tmp_path / "out")
    write_run(output, FIRST, [photograph(1, shelf=3)], pa.field("shelf", pa.int64()))
    publish(output)
    write_run(output, SECOND, [photograph(2, shelf="three")], pa.field("shelf", pa.string()))
    said = refused(output)
    assert "a column of your own changes its type" in said
    assert "shelf is int64, then string" in said
    assert len(snapshots(catalog)) == 1
    (Path(output) / "labels" / "model=0123456789ab").rename(tmp_path / "aside")
    write_run(output, SECOND, [photograph(2, shelf="three")], pa.field("shelf", pa.string()))
    assert "published 1 rows and removed 1" in publish(output)  # the earlier rows are no longer in any label file
    assert same(output) == 1


def test_a_column_no_table_can_hold_is_refused(tmp_path, catalog, write_run, refused):
    write_run(str(tmp_path / "out"), FIRST, [photograph(1, exposure=3)], pa.field("exposure", pa.duration("s")))
    assert "the column exposure of the labels, which has values of type duration[s]" in refused(tmp_path / "out")
    assert not catalog.table_exists("photos.ages")


@pytest.mark.parametrize("before", [0, 1])
def test_a_crash_before_the_commit_leaves_no_trace(tmp_path, catalog, write_run, publish, same, before):
    """The process is killed after all of its data files are written."""
    output = str(tmp_path / "out")
    if before:
        write_run(output, FIRST, [photograph(n) for n in range(5)])
        publish(output)
    write_run(output, SECOND, [photograph(n) for n in range(10, 20)])
    program = (
        "import os; from cilf import cli; from pyiceberg.catalog.sql import SqlCatalog; "
        "SqlCatalog.commit_table = lambda *_: os._exit(9); "
        f"cli.main(['publish', {output!r}, 'photos.ages'])"
    )
    written = set((tmp_path / "warehouse").rglob("*.parquet"))
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, timeout=120, check=False)
    assert done.returncode == 9
    assert set((tmp_path / "warehouse").rglob("*.parquet")) > written
    assert catalog.table_exists("photos.ages") == bool(before)
    if before:
        assert len(snapshots(catalog)) == 1
        assert catalog.load_table("photos.ages").scan().count() == 5
    assert "published 10 rows" in publish(output)
    assert same(output) == 10 + 5 * before


def test_another_writer_in_between(tmp_path, catalog, write_run, publish, refused, same, monkeypatch):
    """Rows that another engine has duplicated are removed; one that writes at the same time makes the commit fail."""
    output = str(tmp_path / "out")
    write_run(output, FIRST, [photograph(n) for n in range(20)])
    publish(output)
    table = catalog.load_table("photos.ages")
    table.append(table.scan().to_arrow().slice(0, 5))
    assert "published 0 rows and removed 5: photos.ages has 20 rows" in publish(output)
    assert same(output) == 20
    forget(locate(output) / "labels" / "model=0123456789ab", pa.array([photograph(0)["id"]]).to_numpy())

    def interrupt(*_):
        table = catalog.load_table("photos.ages")
        table.overwrite(table.scan().to_arrow().slice(0, 10))

    monkeypatch.setattr("cilf.publishing.job.check_lease", interrupt)
    assert "another writer changed photos.ages" in refused(output, code=cli.FAILED)
    monkeypatch.undo()


def test_a_run_that_writes_is_waited_for(tmp_path, catalog, write_run, refused):
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    with Lease(locate(str(tmp_path / "out" / "leases" / "0123456789ab.json")), SECOND, print):
        assert f"run {SECOND}" in refused(tmp_path / "out", code=cli.BUSY)
    assert not catalog.list_namespaces()


def test_a_lease_that_was_lost_commits_nothing(tmp_path, catalog, write_run, refused, monkeypatch):
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    lease = tmp_path / "out" / "leases" / "0123456789ab.json"

    def lose(*_):
        lease.write_text(json.dumps({"run": SECOND}))

    monkeypatch.setattr("cilf.publishing.job.recover", lose)
    assert f"may not write; holder: {SECOND}" in refused(tmp_path / "out", code=cli.FAILED)
    assert not catalog.table_exists("photos.ages")


def test_a_compaction_that_died_does_not_double_rows(tmp_path, catalog, write_run, publish, same):
    output = tmp_path / "out"
    for start in (0, 10):
        write_run(str(output), FIRST, [photograph(n) for n in range(start, start + 10)])
    labels = output / "labels" / "model=0123456789ab"
    before = {file.name: file.read_bytes() for file in labels.iterdir()}
    compact(CompactOptions(str(output)))
    (into,) = (file.name for file in labels.iterdir())
    for name, data in before.items():
        (labels / name).write_bytes(data)
    (labels / "_compaction.json").write_text(json.dumps({"into": into, "files": sorted(before)}))
    publish(output)
    assert same(output) == 20


def test_rows_that_are_there_twice_are_refused(tmp_path, catalog, write_run, refused):
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    write_run(str(tmp_path / "out"), FIRST, [photograph(1), photograph(2)])
    assert "two rows for one object" in refused(tmp_path / "out", code=cli.FAILED)


def test_several_parts(tmp_path, catalog, write_run, publish, same, monkeypatch):
    """More rows than are in memory at once."""
    monkeypatch.setattr("cilf.publishing.iceberg._FILE_BYTES", 5_000)
    monkeypatch.setattr("cilf.publishing.labels._BATCH_ROWS", 16)
    write_run(str(tmp_path / "out"), FIRST, [photograph(n) for n in range(300)])
    publish(tmp_path / "out")
    assert len(list(catalog.load_table("photos.ages").scan().plan_files())) > 5
    forget(
        locate(str(tmp_path / "out" / "labels" / "model=0123456789ab")), pa.array([photograph(150)["id"]]).to_numpy()
    )
    publish(tmp_path / "out")
    assert same(tmp_path / "out") == 299
    assert snapshots(catalog)[1].summary["deleted-data-files"] == "1"


def test_labels_on_s3(catalog, bucket, write_run, publish, same):
    output = bucket({})
    write_run(output, FIRST, [photograph(n) for n in range(5)])
    publish(output)
    assert same(output) == 5


def test_what_cannot_be_published(tmp_path, catalog, write_run, publish, refused):
    assert f"there are no labels under {tmp_path}/gone" in refused(tmp_path / "gone")
    (tmp_path / "empty" / "labels" / "model=abc").mkdir(parents=True)
    assert "there are no labels" in refused(tmp_path / "empty")
    assert not (tmp_path / "empty" / "leases").exists()
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    write_run(str(tmp_path / "other"), FIRST, [photograph(1)])
    assert "expected NAMESPACE.NAME" in refused(tmp_path / "out", "ages")
    assert "PYICEBERG_CATALOG__LAKE__URI" in refused(tmp_path / "out", "photos.ages", "--catalog", "lake")
    publish(tmp_path / "out")
    assert f"the table photos.ages mirrors {tmp_path}/out" in refused(tmp_path / "other")
    catalog.create_table("photos.mine", pa.schema([pa.field("id", pa.int64())]))
    assert "was not made by cilf publish" in refused(tmp_path / "out", "photos.mine")


def test_a_namespace_that_a_catalog_does_not_take_is_no_matter_of_columns(tmp_path, catalog, write_run, refused):
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    said = refused(tmp_path / "out", "a.b.c")
    assert "cannot make the table a.b.c: " in said
    assert "hierarchical namespaces" in said
    assert "column" not in said
    assert not catalog.list_namespaces()


def test_without_the_package(tmp_path, write_run, refused, monkeypatch):
    write_run(str(tmp_path), FIRST, [photograph(1)])
    monkeypatch.delattr("cilf.publishing.iceberg", raising=False)
    monkeypatch.setitem(sys.modules, "cilf.publishing.iceberg", None)
    assert "pip install 'cilf[publish]'" in refused(tmp_path)


def test_an_output_that_is_read_only(tmp_path, catalog, write_run, refused, monkeypatch):
    def refuse(target, data):
        raise PermissionError(13, "Permission denied", target.path)

    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    monkeypatch.setattr("cilf.storage.write", refuse)
    assert "cannot write to OUTPUT: no permission" in refused(tmp_path / "out")
