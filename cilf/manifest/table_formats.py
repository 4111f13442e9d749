"""Folders of Parquet files that are tables: a log beside the files says which of their rows still count."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cilf.errors import UsageError
from cilf.storage import Location

_SIGNS = {
    "Delta": re.compile(r"(.*/)?_delta_log(/.*)?"),
    "Iceberg": re.compile(r"(.*/)?metadata/[^/]+\.metadata\.json"),
    "Hudi": re.compile(r"(.*/)?\.hoodie(/.*)?"),
}
"""Kinds of tables, and what below their folder gives each away."""

_READ_BY_DUCKDB = ("Delta", "Iceberg")


def check_is_no_table(below: Iterable[str], folder: Location) -> None:
    """Refuse a folder that is a table.

    Args:
        below: paths of files and folders, relative to `folder`.

    Raises:
        UsageError: its files may hold rows that were deleted or replaced.
    """
    names = list(below)
    for kind, sign in _SIGNS.items():
        if any(sign.fullmatch(name) for name in names):
            raise UsageError(
                f"{folder.url} is a table of {kind}, whose files also hold rows that were deleted or replaced since: "
                f"write its current rows into a Parquet file{_example(kind, folder)}"
            )


def _example(kind: str, folder: Location) -> str:
    if kind not in _READ_BY_DUCKDB:
        return ""
    return f", for example with DuckDB: COPY (SELECT * FROM {kind.lower()}_scan('{folder.url}')) TO 'rows.parquet'"
