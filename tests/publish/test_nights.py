"""Nights whose manifests differ, labelled and published: every reader in docs/guides reads all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import cli

deltalake = pytest.importorskip("deltalake")

NIGHTS: list[list[dict[str, Any]]] = [
    [{"meta": {"iso": None, "lenses": [{"f": None}]}}, {"meta": None}],
    [{"meta": {"iso": 100, "lenses": [{"f": 2}, {"f": 4, "name": "old"}]}, "camera": "a"}, {"camera": None}],
    [{"meta": {"iso": 100.5, "lenses": []}}, {"meta": {"lenses": [{"f": 2.8}]}}],
]
"""User columns in the manifests of the nights."""


def there(value: Any) -> Any:
    """A value without its nulls."""
    if isinstance(value, dict):
        return {name: there(held) for name, held in value.items() if held is not None}
    return [there(held) for held in value] if isinstance(value, list) else value


def test_all_readers_read_all_nights(
    tmp_path: Path, photograph: Callable[..., bytes], label: Callable[..., pa.Table], catalog: Any,
    publish: Callable[..., str], capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    output, expected = tmp_path / "out", {}
    for night, rows in enumerate(NIGHTS):
        lines = []
        for number, own in enumerate(rows):
            name = f"{night}-{number}.jpg"
            (tmp_path / name).write_bytes(photograph(number))
            lines.append(json.dumps({"uri": name, **own}))
            expected[name] = there({"meta": None, "camera": None, **own})
        manifest = tmp_path / f"{night}.jsonl"
        manifest.write_text("\n".join(lines))
        label(manifest, output)
        publish(output)
        publish(output, str(tmp_path / "delta"), "--format", "delta")
    folder = f"{output}/labels"
    readers = {
        "pandas": pa.Table.from_pandas(pd.read_parquet(folder, dtype_backend="pyarrow")),
        "duckdb": duckdb.sql(f"SELECT * FROM '{folder}/**/*.parquet'").to_arrow_table(),
        "iceberg": catalog.load_table("photos.ages").scan().to_arrow(),
        "delta": pa.table(deltalake.DeltaTable(str(tmp_path / "delta")).scan()),
    }
    for reader, table in readers.items():
        found = {
            row["uri"].rpartition("/")[2]: there({n: row[n] for n in ("meta", "camera")}) for row in table.to_pylist()
        }
        assert found == expected, reader
    types = {
        (pq.read_schema(f).field("meta").type, pq.read_schema(f).field("camera").type)
        for f in output.rglob("labels/*/*")
    }
    assert len(types) == 1  # for Spark, which assumes that all files have the types of one file

    before = sorted(output.rglob("*.parquet"))
    (tmp_path / "text.jsonl").write_text(json.dumps({"uri": "0-0.jpg", "etag": "new", "meta": {"iso": "auto"}}))
    capsys.readouterr()
    model = next(output.glob("runs/*.json"))
    options = json.loads(model.read_text())["options"]
    refused = ["label", str(tmp_path / "text.jsonl"), str(output), "--model", options["model"], "--faces", "none"]
    assert cli.main(refused) == cli.WRONG_USAGE
    said = capsys.readouterr().err
    assert "the column meta is" in said
    assert "double and string have no type in common" in said
    assert sorted(output.rglob("*.parquet")) == before
