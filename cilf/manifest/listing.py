"""The objects to label, as tables: from prefixes, which are walked, and from manifests, which are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from cilf import schema
from cilf.errors import UsageError
from cilf.manifest import walking, walking_s3
from cilf.manifest.failures import tell, told
from cilf.manifest.folder import open_folder, read_record
from cilf.manifest.ids import Seen, object_ids
from cilf.manifest.inventory import is_inventory, open_inventory
from cilf.manifest.keys import Include
from cilf.manifest.packed import is_tar, open_packed
from cilf.manifest.reading import Manifest, is_named_manifest, open_manifest
from cilf.manifest.shards import write_manifest
from cilf.storage import Location

__all__ = ["Input", "check_input", "identified", "is_manifest", "objects", "open_input", "read", "write_manifest"]


_UNPACK = "unpack it, and give the folder with its photographs"
_LIST = "convert it to a manifest: CSV, JSON lines or Parquet with a column `uri`"
_ARCHIVES = (".tgz", ".tbz2", ".txz", ".tzst", ".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar")
_LISTS = (
    *(".tsv", ".txt", ".lst", ".list", ".xlsx", ".xls", ".ods", ".avro", ".orc", ".feather", ".arrow", ".ipc"),
    *(".tsv.gz", ".txt.gz", ".lst.gz", ".yaml", ".yml", ".xml", ".db", ".sqlite", ".pkl"),
)
_OF_MANY = {
    **dict.fromkeys(_LISTS, _LIST),
    **dict.fromkeys(_ARCHIVES, _UNPACK),
    **dict.fromkeys(
        (".json", ".json.gz"), "convert it to a manifest: JSON lines (.jsonl), an object with a key `uri` on each line"
    ),
}
"""Endings of files that hold more than one object, and what to do with such a file."""


class Input(NamedTuple):
    """A place to list."""

    source: Location
    manifest: Manifest | None
    """None: a prefix."""


def is_manifest(source: Location) -> bool:
    """True if INPUT is a list of objects: named like one, tars included, a folder that `cilf list` has written, or the
    manifest.json of an S3 Inventory. A folder of photographs that happens to hold a Parquet file is a folder of
    photographs.

    Raises:
        UsageError: the store cannot be reached.
    """
    with told("cannot read INPUT", source):
        named = is_named_manifest(source) or is_tar(source)
        return named or is_inventory(source) or read_record(source) is not None


def open_input(source: Location) -> Input:
    """INPUT with its manifest, opened.

    Raises:
        UsageError: it is a manifest that cannot be used.
    """
    manifest = open_inventory(source) or open_folder(source) or open_packed(source)
    if manifest is None and is_named_manifest(source):
        manifest = open_manifest(source)
    return Input(source, manifest)


def check_input(source: Location) -> None:
    """Make sure that INPUT exists and can be read, without listing it.

    Raises:
        UsageError: it does not exist, cannot be read, or is one file of many objects but not a manifest.
    """
    manifest = open_input(source).manifest
    if manifest is not None:
        if is_named_manifest(source):
            next(manifest.parts[0](), None)  # Most faults in URIs already show in the first ones.
        return
    with told(walking_s3.UNLISTED, source):
        is_glob = bool(set("*?[{") & set(source.path.rpartition("/")[2]))
        for suffix, advice in _OF_MANY.items():
            if source.path.lower().endswith(suffix) and (is_glob or source.fs.isfile(source.path)):
                raise UsageError(f"INPUT {source.url} would be read as one photograph: {advice}")
        if source.scheme == "file" and not Path(source.path).exists():
            raise UsageError(f"INPUT {source.path} does not exist{_choosing(source) if is_glob else ''}")
        unread: list[str] = []
        if not _holds_objects(source, unread.append):
            why = f"there are no objects{_choosing(source) if is_glob else ''}"
            raise UsageError(f"nothing to label under {source.url}: {'; '.join([why, *unread])}")


def _holds_objects(source: Location, say: Callable[[str], None]) -> bool:
    return walking_s3.holds_objects(source) if source.scheme == "s3" else walking.holds_objects(source, say)


def _choosing(source: Location) -> str:
    """Advice for an INPUT such as `photos/*.jpg`."""
    return f"; to select files in a folder, use {source.parent.url} --include '{source.path.rpartition('/')[2]}'"


def objects(
    source: Location,
    include: Sequence[str] | Include = (),
    say: Callable[[str], None] = tell,
    apart: Location | None = None,
) -> Iterator[pa.Table]:
    """Everything to label under `source`: tables of schema.MANIFEST, followed by the user's own columns.

    Each object occurs once. `include` are globs; for a prefix they are matched against the key below it, for a manifest
    against the whole URI. `say` is called with a message for what is left out because it cannot be read, and when
    nothing matches; `apart` is a folder that is left out.

    Raises:
        UsageError: the source cannot be read, or is not a manifest although its name says so.
    """
    include = include if isinstance(include, Include) else Include(include)
    found, seen = open_input(source), Seen()
    for table in map(identified, read([found], include, {}, say, apart)):
        if found.manifest is None or not found.manifest.distinct:
            table = table.filter(pa.array(seen.new(table["id"].to_numpy())))
        yield table
    if remark := include.remark():
        say(remark)


def identified(table: pa.Table) -> pa.Table:
    """A table of schema.MANIFEST with its column `id`, which is added if it is missing."""
    if "id" in table.column_names:
        return table
    return table.add_column(0, schema.MANIFEST.field("id"), pa.array(object_ids(table)))


def read(
    inputs: Sequence[Input],
    include: Include,
    left: dict[str, Any],
    say: Callable[[str], None] = tell,
    apart: Location | None = None,
) -> Iterator[pa.Table]:
    """The objects of INPUTs that `include` selects, in tables of schema.MANIFEST, with `id` only where it is known.

    Prefixes on S3 are walked in parallel, all other INPUTs one after another.

    Args:
        inputs: the INPUTs; no prefix in a store may lie below another one.
        include, say, apart: see objects.
        left: what is left to list of each INPUT, by its URL, as JSON; updated before every table, to what comes
            after it. Missing: all of it is left. None: nothing is.

    Raises:
        UsageError: an INPUT cannot be read.
    """
    todo = [found for found in inputs if left.get(found.source.url, "") is not None]
    prefixes = [source for source, manifest in todo if manifest is None and source.scheme == "s3"]
    if prefixes:
        for source, table, spans in walking_s3.S3Walk(prefixes, left).tables():
            left[source.url] = spans or None
            yield include.fitting(table, _below(source))
    for source, manifest in todo:
        if source in prefixes:
            continue
        place = left.get(source.url)
        with told(walking_s3.UNLISTED, source):
            steps: Iterator[tuple[pa.Table, Any]] = (
                _rows(manifest, place) if manifest else walking.walk(source, place, include, say, apart)
            )
            for table, place in steps:
                left[source.url] = place
                yield include.fitting(table, 0 if manifest else _below(source))
        left[source.url] = None


def _below(prefix: Location) -> int:
    return len(prefix.url.rstrip("/")) + 1


def _rows(manifest: Manifest, place: tuple[int, int] | None) -> Iterator[tuple[pa.Table, tuple[int, int]]]:
    """Tables of a manifest from a place on, and the place after each: the number of a part, and of a row in it."""
    first, done = place or (0, 0)
    for number, part in enumerate(manifest.parts[first:], first):
        row = 0
        for table in part():
            row += len(table)
            if row > done:
                yield table.slice(len(table) - min(len(table), row - done)), (number, row)
        done = 0
