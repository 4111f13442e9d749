"""User columns of every type that Parquet and JSON have: a run copies them to labels that all readers can read."""

from __future__ import annotations

import json
from decimal import Decimal

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cilf import cli

NS = 1_714_558_272_123_456_789


def test_odd_types_reach_the_labels(label, photograph, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(photograph(number))
    text = pa.array(["x", None, "y"])
    own = {
        "view": text.cast(pa.string_view()),
        "list_view": pa.array([["x"], None, []], pa.list_view(pa.string_view())),
        "struct": pa.array(
            [{"a": "x", "n": None}, None, {"a": None, "n": None}],
            pa.struct([("a", pa.string_view()), ("n", pa.null())]),
        ),
        "map": pa.array([[("k", b"v")], None, []], pa.map_(pa.string_view(), pa.binary_view())),
        "category": text.dictionary_encode(),
        "uuid": pa.array([bytes(range(16)), None, bytes(16)], pa.uuid()),
        "taken": pa.array([NS, None, 0], pa.timestamp("ns", "Asia/Tokyo")),
        "exposure": pa.array([1500, None, 0], pa.duration("ms")),
        "half": pa.array([1.5, None, 0], pa.float16()),
        "price": pa.array([Decimal("1.50"), None, Decimal(0)], pa.decimal256(9, 2)),
        "vector": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
    }
    folder = tmp_path / "m.parquet" / "camera=X%20Y"
    folder.mkdir(parents=True)
    pq.write_table(
        pa.table({"uri": [f"{n}.jpg" for n in range(3)], "modified": own["taken"], **own}), folder / "a.parquet"
    )
    table = label(tmp_path / "m.parquet", tmp_path / "out")
    assert [(row["status"], row["camera"]) for row in table.to_pylist()] == [("ok", "X Y")] * 3
    first, second = (table.select(list(own)).to_pylist()[n] for n in (0, 1))
    assert first == {
        "view": "x", "list_view": ["x"], "struct": {"a": "x", "n": None}, "map": [("k", b"v")], "category": "x",
        "uuid": "00010203-0405-0607-0809-0a0b0c0d0e0f", "taken": first["taken"], "exposure": 1.5, "half": 1.5,
        "price": Decimal("1.50"), "vector": [1.0, 2.0],
    }  # fmt: skip
    assert first["taken"].isoformat() == "2024-05-01T10:11:12.123456+00:00"
    assert set(second.values()) == {None}
    found = pd.read_parquet(tmp_path / "out" / "labels").sort_values("uri")
    assert found["uuid"].tolist()[0] == first["uuid"]
    labels = duckdb.sql(
        f"SELECT view, \"map\"['k'], epoch(taken), vector[2] FROM '{tmp_path}/out/labels/**/*.parquet' ORDER BY uri"
    )
    assert [row[0] for row in labels.fetchall()] == ["x", None, "y"]
    assert cli.main(["report", f"{tmp_path}/out", "--slice", "struct"]) == 0


def test_json_with_nothing_in_it(label, photograph, tmp_path):
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    row = {"uri": "a.jpg", "meta": {}, "deep": {"exif": {}, "gps": None, "tags": [None]}, "none": None}
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    (found,) = label(tmp_path / "m.jsonl", tmp_path / "out").to_pylist()
    assert (found["status"], found["meta"], found["none"]) == ("ok", "{}", None)
    assert found["deep"] == {"exif": "{}", "gps": None, "tags": [None]}


def test_names_are_refused_before_anything_is_done(model_folder, tmp_path, capsys):
    (tmp_path / "m.csv").write_text("uri,Make,Model\n/a,Apple,iPhone 15\n")
    arguments = ["label", f"{tmp_path}/m.csv", f"{tmp_path}/out", "--model", str(model_folder)]
    assert cli.main(arguments) == cli.WRONG_USAGE
    assert "columns that the labels have too: Model; rename them" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
