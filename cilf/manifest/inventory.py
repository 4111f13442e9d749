"""S3 Inventory as manifests: lists of a bucket's objects that S3 itself writes once a day.

An inventory is a `manifest.json` that names data files, CSV or Parquet, in the bucket where inventories are stored. It
lists a bucket of any size without a single LIST request, but in the state of some hours ago.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cilf.errors import UsageError
from cilf.manifest.failures import told
from cilf.manifest.formats import TABLE_ROWS
from cilf.manifest.ids import UNIDENTIFIED
from cilf.manifest.keys import decoded
from cilf.manifest.reading import UNREADABLE, Manifest
from cilf.manifest.values import converted
from cilf.storage import Location, filesystem, read

_NAME = "manifest.json"
_FIELDS = {"sourceBucket", "destinationBucket", "fileFormat", "fileSchema", "files"}
# Names of columns in lower case and without underscores, as CSV and Parquet differ in both.
_DESCRIBING = ("etag", "size", "lastmodifieddate")
_COLUMNS = {"key", *_DESCRIBING, "islatest", "isdeletemarker"}


def open_inventory(source: Location) -> Manifest | None:
    """The inventory that a `manifest.json` describes; None if the file is anything else.

    Only the latest versions of objects are listed. The MD5 of every data file is checked before it is used.

    Raises:
        UsageError: the inventory cannot be read, because it is ORC, has no keys or does not exist; while its parts are
            read, also if a data file is missing or damaged.
    """
    description = _description(source)
    if description is None:
        return None
    kind, columns = description["fileFormat"], description["fileSchema"]
    if kind not in ("CSV", "Parquet"):
        raise UsageError(f"{source.url} is an S3 Inventory in {kind}: have S3 write CSV or Parquet")
    names = [name.strip() for name in columns.split(",")] if kind == "CSV" else []
    if kind == "CSV" and "Key" not in names:
        raise UsageError(f"{source.url} is an S3 Inventory without keys (its columns: {columns})")
    parts = [partial(_tables, source, description, file, names) for file in description["files"]]
    version = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    return Manifest(version, [], parts)


def is_inventory(source: Location) -> bool:
    """True if this is the `manifest.json` of an S3 Inventory."""
    return _description(source) is not None


def _description(source: Location) -> dict[str, Any] | None:
    if source.path.rpartition("/")[2] != _NAME:
        return None
    with told("cannot read INPUT", source):
        try:
            found = json.loads(read(source) or b"")
        except ValueError:
            return None
    return found if isinstance(found, dict) and found.keys() >= _FIELDS else None


def _tables(
    source: Location, description: dict[str, Any], file: dict[str, Any], names: list[str]
) -> Iterator[pa.Table]:
    """The objects in one data file; `names` are the columns of a CSV file, which does not contain them."""
    data = _place(source, description, file)
    with told(UNREADABLE, data), tempfile.TemporaryDirectory(prefix="cilf-") as folder:
        local = Path(folder) / data.path.rpartition("/")[2]
        data.fs.get_file(data.path, str(local))
        _check_md5(local, file.get("MD5checksum"), data)
        before = 0
        for batch in _csv(local, names) if names else _parquet(local):
            columns = {name.lower().replace("_", ""): batch[name] for name in batch.schema.names}
            keys = columns["key"].to_pylist()
            if names:  # Keys are URL-encoded in CSV only.
                keys = decoded(keys)
            uris = [f"s3://{description['sourceBucket']}/{key}" for key in keys]
            yield _latest(uris, columns, data.url, before)
            before += batch.num_rows


def _place(source: Location, description: dict[str, Any], file: dict[str, Any]) -> Location:
    """The location of a data file: where S3 put it, or for a copy of an inventory, relative to its manifest as on
    S3."""
    copy: Location = source.parent.parent / "data" / file["key"].rpartition("/")[2]
    if source.scheme != "s3" and copy.fs.exists(copy.path):
        return copy
    bucket = description["destinationBucket"].rpartition(":")[2]
    fs = source.fs if source.scheme == "s3" else filesystem("s3")
    return replace(source, scheme="s3", fs=fs, path=f"{bucket}/{file['key']}")


def _check_md5(local: Path, wanted: str | None, data: Location) -> None:
    with local.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if wanted and found != wanted.lower():
        raise UsageError(f"{data.url} is damaged: its MD5 is {found}, but the inventory's manifest says {wanted}")


def _csv(file: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    from pyarrow import csv

    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        include_columns=[name for name in names if name.lower() in _COLUMNS],
        null_values=[""],
        strings_can_be_null=True,
    )
    with pa.input_stream(str(file), compression="gzip" if file.suffix == ".gz" else None) as stream:
        yield from csv.open_csv(stream, csv.ReadOptions(column_names=names), convert_options=convert)


def _parquet(file: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file) as opened:
        names = [name for name in opened.schema_arrow.names if name.lower().replace("_", "") in _COLUMNS]
        yield from opened.iter_batches(TABLE_ROWS, columns=names)


def _latest(uris: list[str], columns: dict[str, pa.Array], url: str, before: int) -> pa.Table:
    """The latest versions that are not delete markers, as schema.MANIFEST without `id`; `before` is the number of rows
    before these."""
    count = len(uris)
    found = [pa.array(uris, pa.string()), *(columns.get(name, pa.nulls(count)) for name in _DESCRIBING)]
    ours = [converted(column, name, url, before) for column, name in zip(found, UNIDENTIFIED.names, strict=True)]
    table = pa.table(ours, schema=UNIDENTIFIED)
    latest = _flags(columns.get("islatest"), count, missing=True)
    deleted = _flags(columns.get("isdeletemarker"), count, missing=False)
    return table.filter(pc.and_not(latest, deleted))


def _flags(column: pa.Array | None, count: int, missing: bool) -> pa.Array:
    if column is None:
        return pa.array([missing] * count)
    return pc.fill_null(pc.equal(pc.utf8_lower(column.cast(pa.string())), "true"), missing)
