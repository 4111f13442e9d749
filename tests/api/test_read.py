"""`cilf.read`: the labels of the current model."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cilf
from cilf import schema

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
FACE = dict.fromkeys([field.name for field in schema.FACE], 0.0) | {"corrections": 0, "accepted": True}


def row(number: int, ages: list[float], **own: object) -> dict:
    return {
        "id": number,
        "uri": f"/photos/{number}.jpg",
        "status": "ok" if ages else "no_face",
        "face_count": len(ages),
        "faces": [FACE | {"age": age} for age in ages],
        "run": "20260101T000000Z-000000",
        "labelled_at": datetime(2026, 1, 1, tzinfo=UTC),
        **own,
    }


def write(output: Path, model: str, name: str, rows: list[dict], own: list[pa.Field] = ()) -> None:
    folder = output / "labels" / f"model={model}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = schema.extend(schema.LABELS, list(own))
    plain = pa.schema([f.with_type(pa.string()) if f.name == "status" else f for f in wanted])
    pq.write_table(pa.Table.from_pylist(rows, plain).cast(wanted), folder / f"{name}.parquet")


@pytest.fixture
def output(tmp_path) -> Path:
    """Two models, of which A is the current one, with two photographs in each of two files."""
    write(tmp_path, A, "one", [row(1, [30.0, 5.0]), row(2, [])])
    write(tmp_path, A, "two", [row(3, [60.0]), row(4, [7.0, 8.0, 9.0])])
    write(tmp_path, B, "one", [row(1, [99.0])])
    (tmp_path / "current.json").write_text(json.dumps({"model": A}))
    return tmp_path


def test_photographs_of_the_current_model_have_one_row_each(output):
    table = cilf.read(output)
    assert table.column_names == [*schema.LABELS.names, "model"]
    assert sorted(table["id"].to_pylist()) == [1, 2, 3, 4]
    assert set(table["model"].to_pylist()) == {A}
    (output / "current.json").write_text(json.dumps({"model": B}))
    assert cilf.read(str(output))["faces"].to_pylist()[0][0]["age"] == 99


def test_faces_have_one_row_each(output):
    table = cilf.read(output, per="face")
    found = sorted(zip(table["id"].to_pylist(), table["face"].to_pylist(), table["age"].to_pylist(), strict=True))
    assert found == [(1, 0, 30), (1, 1, 5), (3, 0, 60), (4, 0, 7), (4, 1, 8), (4, 2, 9)]
    assert "faces" not in table.column_names
    assert table.schema.field("age").type == pa.float32()


def test_columns_can_be_chosen(output):
    assert cilf.read(output, columns=["status", "uri"]).column_names == ["status", "uri"]
    assert cilf.read(output, columns=["model"]).column_names == ["model"]
    assert cilf.read(output, per="face", columns=["uri"]).column_names == ["uri", "face", *FACE]


def test_pandas_and_duckdb_read_the_table(output):
    faces = cilf.read(output, per="face")
    assert faces.to_pandas().age.sum() == 119
    assert duckdb.sql("SELECT sum(age) FROM faces").fetchall() == [(119,)]


def test_own_columns_are_kept_also_those_named_like_a_field_of_faces(tmp_path):
    own = [pa.field("age", pa.int64()), pa.field("camera", pa.string())]
    write(tmp_path, A, "one", [row(1, [30.0], age=31, camera="left")], own)
    assert cilf.read(tmp_path)["age"].to_pylist() == [31]
    (face,) = cilf.read(tmp_path, per="face").to_pylist()
    assert (face["age"], face["own_age"], face["camera"]) == (30, 31, "left")


def test_thumbnails_go_with_their_faces(tmp_path):
    write(tmp_path, A, "one", [row(1, [30.0, 5.0], thumbnails=[b"a", b"b"]), row(2, [])], [schema.THUMBNAILS])
    write(tmp_path, A, "two", [row(3, [7.0])])
    table = cilf.read(tmp_path, per="face")
    assert dict(zip(table["age"].to_pylist(), table["thumbnail"].to_pylist(), strict=True)) == {
        30: b"a",
        5: b"b",
        7: None,
    }


def test_rows_that_a_compaction_has_written_but_not_removed_count_once(output):
    write(output, A, "compact", [row(1, [30.0, 5.0]), row(2, []), row(3, [60.0])])
    assert sorted(cilf.read(output)["id"].to_pylist()) == [1, 2, 3, 4]
    assert len(cilf.read(output, per="face", columns=[])) == 6


def test_labels_in_a_store_are_read(output, bucket):
    objects = {str(file.relative_to(output)): file.read_bytes() for file in output.rglob("*") if file.is_file()}
    assert cilf.read(bucket(objects)).sort_by("id").equals(cilf.read(output).sort_by("id"))


def test_what_cannot_be_read_is_told(output, tmp_path):
    with pytest.raises(cilf.UsageError, match="there are no labels under"):
        cilf.read(tmp_path / "elsewhere")
    with pytest.raises(cilf.UsageError, match="no column 'stauts': did you mean 'status'"):
        cilf.read(output, columns=["stauts"])
    with pytest.raises(cilf.UsageError, match="expected 'photograph' or 'face'"):
        cilf.read(output, per="faces")
    (output / "labels" / f"model={A}" / "one.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(cilf.JobError, match="damaged"):
        cilf.read(output)
