"""Lists the files of labelled data at a path or URL: a file, a folder of files, or `folder/*.tar`."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import replace

from cilf.manifest.table_formats import check_is_no_table
from cilf.storage import Location

logger = logging.getLogger(__name__)


def data_files(source: Location) -> list[Location]:
    """The files at a location, sorted by path, without hidden files and job markers (`._a.parquet`, `_SUCCESS`).

    Raises:
        FileNotFoundError: the location does not exist.
        UsageError: the folder is a table whose files are listed in a log.
    """
    if source.fs.isfile(source.path):
        return [source]
    name = source.path.rpartition("/")[2]
    if "*" in name and not source.fs.exists(source.path):
        folder, pattern = source.parent, re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)
        listed = [i["name"] + "/" * (i["type"] == "directory") for i in folder.fs.ls(folder.path or "/", detail=True)]
        below = [path for path in listed if pattern.fullmatch(path.rpartition("/")[2])]
    elif source.fs.exists(source.path):
        folder, below = source, list(_below(source))
        listed = below
    else:
        raise FileNotFoundError("no file and no folder of that name")
    check_is_no_table((_relative(path, folder) for path in listed), folder)
    shown = [path for path in below if not _is_hidden(_relative(path, folder))]
    return [replace(source, path=path) for path in sorted(shown)]


def _below(folder: Location) -> Iterator[str]:
    """Yields all files below a folder. On this machine, links to folders are followed, each folder once."""
    if folder.scheme != "file":
        yield from folder.fs.find(folder.path)
        return
    seen = set()
    for path, folders, names in os.walk(folder.path, followlinks=True, onerror=_not_read):
        seen.add(os.path.realpath(path))
        folders[:] = sorted(f for f in folders if os.path.realpath(os.path.join(path, f)) not in seen)  # noqa: PTH118
        yield from (f"{path.rstrip('/')}/{name}" for name in names)


def _not_read(error: OSError) -> None:
    logger.warning("%s is left out: %s", error.filename, error.strerror)


def _relative(path: str, folder: Location) -> str:
    return path[len(folder.path) :].lstrip("/")


def _is_hidden(relative: str) -> bool:
    return any(name.startswith((".", "_")) for name in relative.split("/"))
