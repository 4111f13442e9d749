"""A separate Iceberg catalog for each test, and labels as runs write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from published_rows import MODEL, comparable, labels_in

from cilf import cli, schema
from cilf.labelling import sink
from cilf.storage import locate, write


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty catalog on SQLite, configured by pyiceberg's variables."""
    pyiceberg_catalog = pytest.importorskip("pyiceberg.catalog")
    from pyiceberg.utils.config import Config

    (tmp_path / "warehouse").mkdir()
    monkeypatch.setenv("PYICEBERG_HOME", str(tmp_path))
    monkeypatch.setenv("PYICEBERG_CATALOG__DEFAULT__URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__DEFAULT__WAREHOUSE", f"file://{tmp_path}/warehouse")
    monkeypatch.setattr(pyiceberg_catalog, "_ENV_CONFIG", Config())  # read once, when it is imported
    return pyiceberg_catalog.load_catalog("default")


@pytest.fixture
def write_run() -> Callable[..., None]:
    """Write a run's labels below OUTPUT, as the sink does."""

    def run(output: str, name: str, rows: list[dict[str, Any]], *own: pa.Field, model: str = MODEL) -> None:
        table = sink.labelled_rows(pa.Table.from_pylist(rows, schema.extend(schema.JUDGED, list(own))), name)
        root = locate(output)
        write(root / "labels" / f"model={model}" / f"{name}-{sink._name(table)}.parquet", sink._parquet(table))

    return run


@pytest.fixture
def publish(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `cilf publish` and return the line that it prints."""

    def run(output: str | Path, table: str = "photos.ages", *options: str) -> str:
        capsys.readouterr()
        assert cli.main(["publish", str(output), table, *options]) == 0, capsys.readouterr().err
        (line,) = capsys.readouterr().out.strip().splitlines()
        return line

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `cilf publish` with arguments that it must refuse, and return its only message."""

    def run(output: str | Path, *options: str, code: int = cli.WRONG_USAGE) -> str:
        assert cli.main(["publish", str(output), *(options or ("photos.ages",))]) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.strip().splitlines()) == 1
        return said.err

    return run


@pytest.fixture
def same(catalog: Any) -> Callable[..., int]:
    """Make sure that the table equals the Parquet labels, as pyiceberg reads it and as DuckDB reads its data files;
    return the number of its rows."""
    import duckdb

    def check(output: str | Path, name: str = "photos.ages") -> int:
        wanted = labels_in(str(output))
        table = catalog.load_table(name)
        assert comparable(table.scan().to_arrow().to_pylist()) == wanted
        data = [task.file.file_path.removeprefix("file://") for task in table.scan().plan_files()]
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            query = "SELECT * FROM read_parquet(?, union_by_name = true, hive_partitioning = false)"
            assert comparable(connection.sql(query, params=[data]).to_arrow_table().to_pylist()) == wanted
            reader = table.scan().to_duckdb("ages", connection=connection)
            count = reader.sql("SELECT count(*), count(DISTINCT (id, model)) FROM ages").fetchall()
        assert count == [(len(wanted), len(wanted))]
        return len(wanted)

    return check
