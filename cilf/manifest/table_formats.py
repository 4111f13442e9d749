"""Folders of Parquet files that are tables: a log next to the files says which of their rows are current."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePath

from cilf.errors import UsageError
from cilf.storage import Location

_SIGNS = {
    "Delta": re.compile(r"(.*/)?_delta_log(/.*)?"),
    "Iceberg": re.compile(r"(.*/)?metadata/[^/]+\.metadata\.json"),
    "Hudi": re.compile(r"(.*/)?\.hoodie(/.*)?"),
}
"""Kinds of tables, and the paths below their folder that identify each."""

_READ_BY_DUCKDB = ("Delta", "Iceberg")
_LOGS = {"_delta_log": "Delta", ".hoodie": "Hudi"}


def check_is_no_table(below: Iterable[str], folder: Location) -> None:
    """Refuse a folder that is a table, or lies inside one, as a partition or Iceberg's `data` does.

    Args:
        below: paths of files and folders, relative to `folder`.

    Raises:
        UsageError: its files may hold rows that were deleted or replaced.
    """
    names = list(below)
    for kind, sign in _SIGNS.items():
        if any(sign.fullmatch(name) for name in names):
            raise _refused(folder, folder, kind)
    for above, inside in _above(folder):
        if found := _kind(above, inside):
            raise _refused(folder, above, found)


def _refused(folder: Location, table: Location, kind: str) -> UsageError:
    what = f"{folder.url} is" if folder == table else f"{folder.url} lies in {table.url}, which is"
    return UsageError(
        f"{what} a table of {kind}, whose files also hold rows that have been deleted or replaced: "
        f"write its current rows into a Parquet file{_example(kind, table)}"
    )


def _example(kind: str, table: Location) -> str:
    if kind not in _READ_BY_DUCKDB:
        return ""
    return f", for example with DuckDB: COPY (SELECT * FROM {kind.lower()}_scan('{table.url}')) TO 'rows.parquet'"


def _above(folder: Location) -> Iterator[tuple[Location, str]]:
    """The folders above a folder that may be tables, each with the name in it that leads down to the folder.

    On this machine these are all folders above it, with and without resolving links. In a store they are only the ones
    that the names suggest: the folder with the partitions (`day=1`), and the one with `data`.
    """
    if folder.scheme == "file":
        for path in dict.fromkeys((folder.path, os.path.realpath(folder.path or "/"))):
            yield from ((replace(folder, path=str(above)), name) for above, name in _parents(PurePath(path)))
        return
    names = folder.path.split("/")
    places = [place for place, name in enumerate(names) if place and name == "data"][-1:]
    if "=" in names[-1]:
        places.append(max(place for place, name in enumerate(names) if "=" not in name) + 1)
    for place in places:
        yield replace(folder, path="/".join(names[:place])), names[place]


def _parents(path: PurePath) -> Iterator[tuple[PurePath, str]]:
    return ((below.parent, below.name) for below in (path, *path.parents) if below.name)


def _kind(table: Location, inside: str) -> str | None:
    """The kind of table of a folder that has a folder `inside`; None if it is not a table or cannot be read."""
    with suppress(PermissionError):  # A user who may read a folder need not have access to the one above.
        if inside == "data" and _holds_metadata(table / "metadata"):
            return "Iceberg"
        if table.scheme == "file" or "=" in inside:
            return next((kind for name, kind in _LOGS.items() if table.fs.exists((table / name).path)), None)
    return None


def _holds_metadata(folder: Location) -> bool:
    # For a folder that does not exist, s3fs would list the one above.
    listed = folder.fs.ls(folder.path, detail=False) if folder.fs.exists(folder.path) else []
    return any(path.endswith(".metadata.json") for path in listed)
