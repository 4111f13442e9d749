import duckdb
import pyarrow as pa
import pytest

from cilf import schema

# The contract with all readers of labels: changing a line here breaks their queries.
PROMISED = {
    "id": "int64",
    "uri": "string",
    "etag": "string",
    "bytes": "int64",
    "status": "dictionary<values=string, indices=int32, ordered=0>",
    "reason": "string",
    "width": "int32",
    "height": "int32",
    "face_count": "int32",
    "faces": "list<item: struct<left: float, top: float, right: float, bottom: float, detection: float, "
    "age: float, age_low: float, age_high: float, first_age: float, expected_error: float, "
    "corrections: int32, accepted: bool>>",
    "run": "string",
    "labelled_at": "timestamp[us, tz=UTC]",
}


def test_labels_have_the_promised_columns():
    assert {field.name: str(field.type) for field in schema.LABELS} == PROMISED


def test_conform_reorders_and_casts():
    table = pa.table({"uri": ["/a"], "more": [0], "id": pa.array([1], pa.int32())})
    wanted = pa.schema([schema.MANIFEST.field("id"), schema.MANIFEST.field("uri")])
    assert schema.conform(table, wanted).schema.equals(wanted)


def test_conform_refuses_a_missing_column():
    with pytest.raises(KeyError, match="objects"):
        schema.conform(pa.table({"status": ["ok"]}), schema.COUNTS)


def test_users_columns_go_behind_ours():
    mine = pa.field("shelf", pa.int16())
    manifest = schema.extend(schema.MANIFEST, [mine])
    assert schema.carried(manifest) == [mine]
    assert schema.extend(schema.LABELS, [mine]).names[-1] == "shelf"
    assert schema.extend(schema.LABELS, [mine]).metadata == schema.LABELS.metadata


def test_an_empty_table_of_labels_reads_in_duckdb():
    labels = duckdb.from_arrow(schema.LABELS.empty_table())
    assert labels.aggregate("count(*), max(faces[1].age)").fetchall() == [(0, None)]
