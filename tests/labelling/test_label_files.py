"""A file among the labels that is damaged or not a label file: every job names it and says what to do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import cli, schema
from cilf.errors import JobError
from cilf.labelling.columns import _batches, _columns
from cilf.labelling.database import open_database
from cilf.labelling.doubts import without_thumbnails
from cilf.labelling.label_files import reading
from cilf.manifest.pending import labelled
from cilf.publishing.labels import Labels
from cilf.storage import Location, locate


def _whole(folder: Path) -> bytes:
    rows = [{"id": n, "uri": f"/{n}", "status": "ok", "run": "r", "labelled_at": 0} for n in range(500)]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.LABELS), folder / "whole.parquet")
    return (folder / "whole.parquet").read_bytes()


@pytest.fixture(params=["empty", "text", "cut", "pages"])
def damaged(request, tmp_path) -> Location:
    """Write a damaged file among the labels of tmp_path."""
    folder = tmp_path / "labels" / "model=abc"
    folder.mkdir(parents=True)
    whole = _whole(folder)
    size = len(whole) * 3 // 5
    contents = {
        "empty": b"",
        "text": b"not Parquet at all" * 10,
        "cut": whole[:-100],
        "pages": whole[:4] + b"\xff" * 2000 + whole[2004:] if size > 2004 else b"",
    }
    (folder / "damaged.parquet").write_bytes(contents[request.param])
    return locate(str(folder / "damaged.parquet"))


def readers(damaged: Location):
    labels = damaged.parent
    yield lambda: labelled(labels)
    yield lambda: Labels([labels])
    yield lambda: list(_batches(damaged))


def test_whoever_reads_it_names_it(damaged):
    for read in readers(damaged):
        with pytest.raises(JobError, match=r"is damaged, or not a Parquet file .*: remove it or restore it") as told:
            read()
        assert damaged.url in str(told.value)


@pytest.mark.parametrize("read", [_columns, lambda file: without_thumbnails(file.parent)])
def test_whoever_reads_its_columns_names_it(tmp_path, read):
    (tmp_path / "junk.parquet").write_bytes(b"")
    with pytest.raises(JobError, match=r"junk\.parquet is damaged, or not a Parquet file"):
        read(locate(str(tmp_path / "junk.parquet")))


def test_compacting_names_it(tmp_path, capsys):
    folder = tmp_path / "labels" / "model=abc"
    folder.mkdir(parents=True)
    (folder / "junk.parquet").write_bytes(b"")
    assert cli.main(["compact", str(tmp_path)]) == cli.FAILED
    said = capsys.readouterr().err
    assert f"{folder}/junk.parquet is damaged, or not a Parquet file" in said
    assert "traceback" not in said


def test_what_a_store_says_stays_as_it_is():
    for error in (OSError(5, "Input/output error"), ConnectionResetError("gone"), FileNotFoundError("gone")):
        with pytest.raises(type(error)) as told, reading(locate("/labels/a.parquet")):
            raise error
        assert told.value is error


def read_all(output: Path) -> None:
    with open_database(locate(str(output))) as database:
        database.rows("SELECT sum(id), max(uri), max(run) FROM labels")


def test_a_report_says_that_it_is_damaged(damaged, tmp_path):
    with pytest.raises(JobError) as told:
        read_all(tmp_path)
    said = str(told.value)
    assert "remove or restore the file that is damaged" in said
    assert "LINE" not in said
    assert "^" not in said
    assert "same command again" not in said


def test_a_report_says_that_a_file_has_gone(tmp_path):
    folder = tmp_path / "labels" / "model=abc"
    folder.mkdir(parents=True)
    (folder / "gone.parquet").write_bytes(_whole(folder))
    with open_database(locate(str(tmp_path))) as database:
        (folder / "gone.parquet").unlink()
        with pytest.raises(JobError, match="repeat the command to read the new ones"):
            database.rows("SELECT sum(id) FROM labels")
