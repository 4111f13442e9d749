"""Walking a local folder, or a store that fsspec supports, in an order that is the same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

import pyarrow as pa

from cilf.manifest.failures import tell
from cilf.manifest.ids import UNIDENTIFIED
from cilf.manifest.keys import Include
from cilf.manifest.walking_local import Found, LocalWalk
from cilf.storage import Location

_TABLE_ROWS = 10_000

Place = str | list[str]
"""The position from which a walk resumes: a path, or a list of it and the targets of the links followed so far."""


def walk(
    source: Location,
    after: Place | None = None,
    include: Include | None = None,
    say: Callable[[str], None] = tell,
    apart: Location | None = None,
) -> Iterator[tuple[pa.Table, Place]]:
    """Everything below `source` that comes after the place `after`: tables of schema.MANIFEST without `id`, each with
    the place at which it ends.

    Args:
        source: a local folder or file, or a place in a store.
        after: a place that an earlier walk returned; None: from the beginning.
        include: folders that cannot hold matching objects may be skipped.
        say: called with a message for what is left out because it cannot be read.
        apart: a folder that is left out.

    Raises:
        OSError: nothing of `source` can be read.
    """
    path, followed = (after, []) if isinstance(after, str | None) else (after[0], after[1:])
    local = LocalWalk(source.path, followed, include or Include(), say, apart)
    found = local.files(path) if source.scheme == "file" else _walk_other(source, path)
    while rows := list(islice(found, _TABLE_ROWS)):
        *columns, paths = zip(*rows, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, UNIDENTIFIED, strict=True)]
        yield pa.table(arrays, schema=UNIDENTIFIED), [paths[-1], *local.followed]


def holds_objects(source: Location, say: Callable[[str], None] = tell) -> bool:
    """True if there is anything to walk; does not walk all of it."""
    if source.scheme == "file":
        with suppress(FileNotFoundError):
            return next(LocalWalk(source.path, [], Include(), say).files(None), None) is not None
        return False
    found_below = any(files for _, _, files in source.fs.walk(source.path))
    return found_below or bool(source.fs.isfile(source.path))


def _walk_other(source: Location, after: str | None) -> Iterator[Found]:
    for path, info in sorted(source.fs.find(source.path, detail=True).items()):
        if after is None or path > after:
            uri = f"{source.scheme}://{path}"
            yield Found(uri, info.get("etag"), info.get("size"), info.get("mtime"), path)
