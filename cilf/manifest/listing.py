"""What there is to label: prefixes that are walked and manifests that are read, as tables of objects."""

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


_UNPACK = "unpack it, and give the folder that holds its photographs"
_LIST = "make it a manifest, as CSV, JSON lines or Parquet with a column `uri`"
_ARCHIVES = (".tgz", ".tbz2", ".txz", ".tzst", ".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar")
_LISTS = (
    *(".tsv", ".txt", ".lst", ".list", ".xlsx", ".xls", ".ods", ".avro", ".orc", ".feather", ".arrow", ".ipc"),
    *(".tsv.gz", ".txt.gz", ".lst.gz", ".yaml", ".yml", ".xml", ".db", ".sqlite", ".pkl"),
)
_OF_MANY = {
    **dict.fromkeys(_LISTS, _LIST),
    **dict.fromkeys(_ARCHIVES, _UNPACK),
    **dict.fromkeys(
        (".json", ".json.gz"), "make it a manifest, as JSON lines (.jsonl), an object with a key `uri` in each line"
    ),
}
"""What files that hold more than one object are called, and what to do with them."""


class Input(NamedTuple):
    """A place to list."""

    source: Location
    manifest: Manifest | None
    """None: a prefix."""


def is_manifest(source: Location) -> bool:
    """Whether INPUT is a list of objects: by its own name, tars included, as a folder that `cilf list` has written, or
    as the manifest.json of an S3 Inventory. A folder of photographs that happens to hold a Parquet file is a folder of
    photographs.

    Raises:
        UsageError: the store cannot be reached.
    """
    with told("cannot read INPUT", source):
        named = is_named_manifest(source) or is_tar(source)
        return named or is_inventory(source) or read_record(source) is not None


def open_input(source: Location) -> Input:
    """INPUT, with the manifest that it is opened.

    Raises:
        UsageError: it is a manifest that cannot be used.
    """
    manifest = open_inventory(source) or open_folder(source) or open_packed(source)
    if manifest is None and is_named_manifest(source):
        manifest = open_manifest(source)
    return Input(source, manifest)


def check_input(source: Location) -> None:
    """Make sure that INPUT is there and can be read, without listing it.

    Raises:
        UsageError: it is not or cannot, or is one file of many objects that is no manifest.
    """
    manifest = open_input(source).manifest
    if manifest is not None:
        if is_named_manifest(source):
            next(manifest.parts[0](), None)  # Of what is wrong with URIs, most is wrong with the first.
        return
    with told(walking_s3.UNLISTED, source):
        is_glob = bool(set("*?[{") & set(source.path.rpartition("/")[2]))
        for suffix, advice in _OF_MANY.items():
            if source.path.lower().endswith(suffix) and (is_glob or source.fs.isfile(source.path)):
                raise UsageError(f"INPUT {source.url} would be taken for one photograph: {advice}")
        if source.scheme == "file" and not Path(source.path).exists():
            raise UsageError(f"INPUT {source.path} does not exist{_choosing(source) if is_glob else ''}")
        unread: list[str] = []
        if not _holds_objects(source, unread.append):
            why = f"there are no objects{_choosing(source) if is_glob else ''}"
            raise UsageError(f"nothing to label under {source.url}: {'; '.join([why, *unread])}")


def _holds_objects(source: Location, say: Callable[[str], None]) -> bool:
    return walking_s3.holds_objects(source) if source.scheme == "s3" else walking.holds_objects(source, say)


def _choosing(source: Location) -> str:
    """What to do about `photos/*.jpg`."""
    return f"; to choose among those of a folder, say {source.parent.url} --include '{source.path.rpartition('/')[2]}'"


def objects(
    source: Location,
    include: Sequence[str] | Include = (),
    say: Callable[[str], None] = tell,
    apart: Location | None = None,
) -> Iterator[pa.Table]:
    """Everything to label under `source`: tables of schema.MANIFEST, with the user's own columns behind it.

    Each object once. `include` are globs; for a prefix they are matched against the key below it, for a manifest
    against the whole URI. `say` is told what is left out because it cannot be read, and when nothing fits; `apart` is a
    folder that is left out.

    Raises:
        UsageError: the source cannot be read, or is no manifest although its name says so.
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
    """A table of schema.MANIFEST with its column `id`, which is made where it is not there."""
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
    """What INPUTs hold and `include` does not rule out, in tables of schema.MANIFEST, `id` only where it is known.

    Prefixes on S3 are walked side by side, everything else one after another.

    Args:
        inputs: no prefix in a store among them that is below another one.
        include, say, apart: see objects.
        left: what is left of each INPUT, by its URL, as JSON; brought up to date with every table, which it leaves
            out. Not there: all of it is left. None: nothing is.

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
    """Tables of a manifest from a place on, and the place behind each: the number of a part, and of a row in it."""
    first, done = place or (0, 0)
    for number, part in enumerate(manifest.parts[first:], first):
        row = 0
        for table in part():
            row += len(table)
            if row > done:
                yield table.slice(len(table) - min(len(table), row - done)), (number, row)
        done = 0
