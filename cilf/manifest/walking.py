"""Walking a local folder, or a store that fsspec knows, in an order that is the same the next time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from cilf.manifest.ids import UNIDENTIFIED
from cilf.storage import Location

_TABLE_ROWS = 10_000


class Found(NamedTuple):
    """An object, as its store describes it."""

    uri: str
    etag: str | None
    bytes: int | None
    modified: Any
    """Microseconds since 1970, or a datetime."""
    path: str
    """Where a walk that ended here goes on."""


def walk(source: Location, after: str | None = None) -> Iterator[tuple[pa.Table, str]]:
    """Everything below `source` that comes behind the path `after`: tables of schema.MANIFEST without `id`, and the
    path at which each ends."""
    found = _walk_local(source, after) if source.scheme == "file" else _walk_other(source, after)
    while rows := list(islice(found, _TABLE_ROWS)):
        *columns, paths = zip(*rows, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, UNIDENTIFIED, strict=True)]
        yield pa.table(arrays, schema=UNIDENTIFIED), paths[-1]


def holds_objects(source: Location) -> bool:
    """Whether there is anything to walk, without walking all of it."""
    if source.scheme == "file":
        return next(_walk_local(source, None), None) is not None
    found_below = any(files for _, _, files in source.fs.walk(source.path))
    return found_below or bool(source.fs.isfile(source.path))


def _walk_local(source: Location, after: str | None) -> Iterator[Found]:
    """Every file below a folder, whatever its name; or the one file that `source` is.

    Links to files count, links to folders are not followed (they may lead in circles), and a link that leads
    nowhere is an object that will be `missing`. The file system gives no etag: size and time of change, in
    nanoseconds, stand for it, so that a changed file is labelled again.
    """
    if Path(source.path).is_dir():
        begun = [] if after is None else after[len(source.path) :].lstrip("/").split("/")
        yield from filter(None, map(_local, _walk_folder(source.path, begun, source.path)))
    elif after is None and Path(source.path).exists():
        yield from filter(None, [_local(source.path)])


def _walk_folder(folder: str, begun: list[str], root: str) -> Iterator[str]:
    """Paths of files in order; with `begun`, the names on the way to a file below `folder`, those behind that one.

    A folder that goes while `root` is walked counts as empty.
    """
    try:
        with os.scandir(folder) as entries:
            # Of each folder all names at once, but no more of an entry than is needed: folders of millions are common.
            ordered = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except FileNotFoundError:
        if not Path(root).exists():  # All of it is gone: a listing would pass for complete.
            raise
        return
    for name, is_folder in ordered:
        if begun and name < begun[0]:
            continue
        last = bool(begun) and name == begun[0]
        path = f"{folder.rstrip('/')}/{name}"
        if is_folder:
            yield from _walk_folder(path, begun[1:] if last else [], root)
        elif not last:
            yield path


def _local(path: str) -> Found | None:
    """A file, or a link that leads nowhere; None for a link to a folder and for what is no file."""
    # Names that are no UTF-8 cannot be a string column; escaped they at least get their row, as `missing`.
    uri = os.fsencode(path).decode("utf-8", "backslashreplace")
    try:
        found = os.stat(path)  # noqa: PTH116  # A Path for each would take longer than the walk.
    except OSError:
        return Found(uri, None, None, None, path)
    if not stat.S_ISREG(found.st_mode):
        return None
    return Found(uri, local_version(found), found.st_size, found.st_mtime_ns // 1000, path)


def local_version(found: os.stat_result) -> str:
    """What stands for the etag of a local file."""
    return f"{found.st_size:x}-{found.st_mtime_ns:x}"


def _walk_other(source: Location, after: str | None) -> Iterator[Found]:
    for path, info in sorted(source.fs.find(source.path, detail=True).items()):
        if after is None or path > after:
            uri = f"{source.scheme}://{path}"
            yield Found(uri, info.get("etag"), info.get("size"), info.get("mtime"), path)
