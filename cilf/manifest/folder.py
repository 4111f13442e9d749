"""The folder that `cilf list` writes: Parquet files, and `_manifest.json`, which names those that belong to the
listing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cilf import schema
from cilf.column_types import with_values
from cilf.errors import UsageError
from cilf.manifest.columns import check_own, fitted, plain
from cilf.manifest.failures import told
from cilf.manifest.formats import TABLE_ROWS
from cilf.manifest.reading import UNREADABLE, Manifest
from cilf.storage import Location, read

RECORD = "_manifest.json"


def read_record(folder: Location) -> dict[str, Any] | None:
    """The contents of `_manifest.json`; None if there is none that CILF has written."""
    try:
        found = json.loads(read(folder / RECORD) or b"")
    except (ValueError, NotADirectoryError, PermissionError):
        return None  # A role may be allowed to list a prefix, but not to read from it.
    return found if isinstance(found, dict) and found.keys() >= {"complete", "listing", "parts"} else None


def open_folder(folder: Location) -> Manifest | None:
    """The manifest in a folder that `cilf list` has written; None for any other folder.

    Its ids are used as they are.

    Raises:
        UsageError: the store cannot be reached, or the listing is not complete or was written by another version of
            CILF; while its parts are read, also if a file is missing or damaged.
    """
    with told("cannot read INPUT", folder):
        record = read_record(folder)
    if record is None:
        return None
    if not record["complete"]:
        raise UsageError(f"{folder.url} is an unfinished listing: run the same cilf list again")
    if record["schema"] != schema.VERSION:
        raise UsageError(f"{folder.url} was written by another version of CILF: list it again")
    carried: list[pa.Field] = []
    if record["parts"]:
        file = folder / record["parts"][0]["name"]
        with told(UNREADABLE, file), file.fs.open(file.path, "rb") as opened:
            carried = schema.carried(pq.read_schema(opened))
        check_own(carried, file.url)  # Other versions may have written it.
    carried = [pa.field(field.name, with_values(plain(field.type))) for field in carried]
    parts = [partial(_tables, folder / part["name"], part["objects"], carried) for part in record["parts"]]
    return Manifest(record["listing"], carried, parts, distinct=True)


def _tables(file: Location, objects: int, carried: list[pa.Field]) -> Iterator[pa.Table]:
    wanted = schema.extend(schema.MANIFEST, carried)
    with told(UNREADABLE, file), file.fs.open(file.path, "rb") as opened:
        parquet = pq.ParquetFile(opened)
        if parquet.metadata.num_rows != objects:
            raise UsageError(f"{file.url} holds {parquet.metadata.num_rows} objects, but {RECORD} says {objects}")
        for batch in parquet.iter_batches(TABLE_ROWS):
            yield pa.table([fitted(batch[field.name], field.type) for field in wanted], schema=wanted)
