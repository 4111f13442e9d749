"""The labels of an OUTPUT as the table `labels` of an in-memory DuckDB, with a column `model`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from cilf import schema
from cilf.cores import cores
from cilf.errors import JobError, UsageError
from cilf.storage import Location, files, folders

_MEMORY = "3GB"

_VIEW = f"""
CREATE VIEW labels AS
-- A user column Model, which runs refuse nowadays, cannot be distinguished from ours.
SELECT COLUMNS(lambda name: lower(name) <> 'model'), regexp_extract({schema.FILE}, 'model=([^/]*)/[^/]*$', 1) AS model
-- Hive partitioning would parse fingerprints as numbers, and any = further up in the path as a column.
FROM read_parquet(getvariable('files'), union_by_name = true, hive_partitioning = false, filename = '{schema.FILE}')
"""

_OF_FILES = (duckdb.IOException, duckdb.InvalidInputException)
_GONE = ("No files found", "No such file", "FileNotFoundError", "NoSuchKey")
"""Parts of error texts about a file that was listed but has been removed since."""

Row = dict[str, Any]


class Database:
    """A connection that runs SQL statements over the labels of one OUTPUT."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def give(self, name: str, table: pa.Table) -> None:
        """Make a table available to statements under a name, in place of an earlier table of that name."""
        self.connection.register(name, table)

    def run(self, sql: str, *values: Any) -> None:
        """Execute a statement."""
        with _as_job_errors():
            self.connection.execute(sql, values)

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """The rows of a small result."""
        with _as_job_errors():
            executed = self.connection.execute(sql, values)
            names = [column[0] for column in executed.description or ()]
            return [dict(zip(names, row, strict=True)) for row in executed.fetchall()]

    def table(self, sql: str, *values: Any) -> pa.Table:
        """A small result as a pyarrow.Table."""
        with _as_job_errors():
            return self.connection.sql(sql, params=list(values)).to_arrow_table()


@contextmanager
def _as_job_errors() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, OSError) as error:
        # Errors in a statement have their own classes; errors inside a file may have only the base class.
        if not isinstance(error, (*_OF_FILES, OSError)) and type(error) is not duckdb.Error:
            raise
        text = " ".join(str(error).partition("\nLINE ")[0].split())
        raise JobError(f"the labels could not be read completely ({text}): {_advice(text)}") from error


def _advice(text: str) -> str:
    if any(gone in text for gone in _GONE):
        return "if a run or `cilf compact` was replacing files, repeat the command to read the new ones"
    return "remove or restore the file that is damaged or not a Parquet file"


@contextmanager
def open_database(output: Location) -> Iterator[Database]:
    """Open the labels below `output` for the duration of the context. At first, only their columns are read.

    Raises:
        UsageError: there are no labels.
        JobError: a file is not a Parquet file.
    """
    found = [file.url for model in folders(output / "labels") for file in files(model, ".parquet")]
    if not found:
        raise UsageError(
            f"there are no labels under {output.url}: expected Parquet files in {output.url}/labels/model=…/, as "
            "`cilf label INPUT OUTPUT` writes them"
        )
    with tempfile.TemporaryDirectory() as spill:
        config: dict[str, Any] = {
            "memory_limit": _MEMORY,
            "threads": cores(),
            "temp_directory": spill,
            "autoinstall_known_extensions": False,  # Nothing is downloaded.
            "autoload_known_extensions": False,
        }
        with duckdb.connect(config=config) as connection:
            if output.scheme != "file":
                connection.register_filesystem(output.fs)
            connection.execute("SET VARIABLE files = ?", [found])
            with _as_job_errors():
                connection.execute(_VIEW)
            yield Database(connection)
