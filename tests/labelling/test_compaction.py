"""Compaction: the same rows in fewer files, wherever it is interrupted."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import cli, schema
from cilf.labelling import compaction
from cilf.labelling.compaction import recover
from cilf.labelling.passes import crashed
from cilf.labelling.sink import labelled_rows
from cilf.manifest.ids import object_ids
from cilf.manifest.pending import labelled
from cilf.storage import locate, write


def label_file(first: int, count: int, **own: pa.Array) -> pa.Table:
    """The rows of a label file as a run writes them."""
    rows = pa.table(
        {
            "uri": [f"/photo/{number}" for number in range(first, first + count)],
            "etag": pa.nulls(count, pa.string()),
            "bytes": pa.nulls(count, pa.int64()),
            "modified": pa.nulls(count, schema.MANIFEST.field("modified").type),
            **own,
        }
    )
    return labelled_rows(crashed(rows.add_column(0, "id", pa.array(object_ids(rows)))), "run")


@pytest.fixture(params=["file", "s3"])
def output(request, tmp_path, bucket):
    root = locate(str(tmp_path / "out") if request.param == "file" else bucket({}))
    labels = root / "labels" / "model=abc"
    root.fs.makedirs(labels.path, exist_ok=True)
    for number in range(7):
        own = {"place": pa.array(["here"] * 5)} if number >= 5 else {}
        with root.fs.open(f"{labels.path}/run-{number}.parquet", "wb") as file:
            pq.write_table(label_file(5 * number, 5, **own), file)
    return root


def names(labels) -> set[str]:
    return {path.rpartition("/")[2] for path in labels.fs.find(labels.path)}


def test_the_same_rows_in_fewer_files(output, rows, capsys):
    labels = output / "labels" / "model=abc"
    before = rows(output.url)
    assert cli.main(["compact", output.url]) == 0
    assert "model=abc: 7 files before, 2 now" in capsys.readouterr().out  # a file for each set of columns
    assert rows(output.url).equals(before)
    assert len(labelled(labels).done) == 35
    with output.fs.open(next(f"{labels.path}/{name}" for name in names(labels)), "rb") as file:
        assert pq.read_schema(file).metadata[b"cilf_schema"] == str(schema.VERSION).encode()
    assert cli.main(["compact", output.url]) == 0
    assert "2 files before, 2 now" in capsys.readouterr().out


def test_who_was_thought_dead_merges_nothing(output, rows, monkeypatch, capsys):
    """Another run takes the lease over while files are read, and undoes the compaction in the journal."""
    labels, before = output / "labels" / "model=abc", rows(output.url)

    def taken_over(*arguments, **options):
        recover(labels)
        write(output / "leases" / "abc.json", b'{"run": "other"}')
        return real(*arguments, **options)

    real = pq.write_table
    with monkeypatch.context() as patch:
        patch.setattr(compaction.pq, "write_table", taken_over)
        assert cli.main(["compact", output.url]) == 1
    assert "no longer holds" in capsys.readouterr().err
    assert rows(output.url).equals(before)
    assert not any(name.startswith("compact-") for name in names(labels))


@pytest.mark.parametrize("dies_at", range(6))
def test_whatever_ends_in_between(output, rows, monkeypatch, dies_at):
    """The nth file operation is the last one. Readers then see every row; once the next run starts, each only once."""
    labels = output / "labels" / "model=abc"
    before = rows(output.url)
    calls = iter(range(100))

    def dying(real):
        def call(*args):
            if next(calls) >= dies_at:
                raise KeyboardInterrupt
            return real(*args)

        return call

    with monkeypatch.context() as patch:
        for name in ("write", "remove"):
            patch.setattr(compaction, name, dying(getattr(compaction, name)))
        assert cli.main(["compact", output.url]) == cli.INTERRUPTED
    assert set(rows(output.url)["id"].to_pylist()) == set(before["id"].to_pylist())
    recover(labels)
    assert rows(output.url).equals(before)
    assert "_compaction.json" not in names(labels)


def test_an_unfinished_compaction_that_wrote_nothing_is_forgotten(output, rows):
    labels = output / "labels" / "model=abc"
    journal = {"into": "compact-0.parquet", "files": ["run-0.parquet"]}
    with output.fs.open(f"{labels.path}/_compaction.json", "wb") as file:
        file.write(json.dumps(journal).encode())
    before = rows(output.url)
    recover(labels)
    assert rows(output.url).equals(before)
    assert "_compaction.json" not in names(labels)


def test_no_labels_is_a_wrong_place(tmp_path, capsys):
    assert cli.main(["compact", str(tmp_path)]) == 2
    assert "no labels under" in capsys.readouterr().err


def test_an_output_that_is_read_only(output, monkeypatch, capsys):
    def refuse(target, data):
        raise PermissionError(13, "Permission denied", target.path)

    monkeypatch.setattr("cilf.storage.write", refuse)
    assert cli.main(["compact", output.url]) == cli.WRONG_USAGE
    assert "cannot write to OUTPUT: no permission" in capsys.readouterr().err
