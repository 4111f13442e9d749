"""Inventories as S3 writes them: a manifest.json and its data files."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import schema
from cilf.errors import UsageError
from cilf.manifest.ids import object_id
from cilf.manifest.listing import is_manifest, objects
from cilf.storage import locate

KEYS = ["plain.jpg", "a b+c.jpg", "100%/%20.jpg", "grüße/日本.jpg", 'comma,quote".jpg', "a//b/", "x" * 900]
WHEN = datetime(2024, 5, 1, 10, 11, 12, tzinfo=UTC)
COLUMNS = ["Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag"]
PARQUET = ["bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "last_modified_date", "e_tag"]


def rows(keys: list[str]) -> list[tuple[Any, ...]]:
    """The current and an older version of each key, and after them a deleted one."""
    latest = [("source", key, "2", True, False, len(key), WHEN, f"e{len(key)}") for key in keys]
    older = [("source", key, "1", False, False, 1, WHEN, "old") for key in keys]
    return [*latest, *older, ("source", "deleted.jpg", "2", True, True, None, WHEN, None)]


def as_csv(keys: list[str], columns: list[str] = COLUMNS) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    for bucket, key, version, latest, deleted, size, _, etag in rows(keys):
        when = "2024-05-01T10:11:12.000Z"
        flags = (str(latest).lower(), str(deleted).lower())
        named = dict(zip(COLUMNS, (bucket, quote_plus(key, safe="/"), version, *flags, size, when, etag), strict=True))
        writer.writerow(["" if named[name] is None else named[name] for name in columns])
    return gzip.compress(text.getvalue().encode())


def as_parquet(keys: list[str]) -> bytes:
    table = pa.table(dict(zip(PARQUET, map(list, zip(*rows(keys), strict=True)), strict=True)))
    table = table.set_column(6, "last_modified_date", table["last_modified_date"].cast(pa.timestamp("ms")))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def description(files: dict[str, bytes], **changes: object) -> bytes:
    return json.dumps(
        {
            "sourceBucket": "source",
            "destinationBucket": "arn:aws:s3:::destination",
            "version": "2016-11-30",
            "creationTimestamp": "1714521600000",
            "fileFormat": "CSV",
            "fileSchema": ", ".join(COLUMNS),
            "files": [
                {"key": key, "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()}
                for key, data in files.items()
            ],
            **changes,
        }
    ).encode()


@pytest.fixture
def inventory(tmp_path):
    """A copy of an inventory: data files -> URL of its manifest.json."""

    def write(files: dict[str, bytes], **changes: object) -> str:
        (tmp_path / "data").mkdir()
        (tmp_path / "2024-05-01T01-00Z").mkdir()
        for key, data in files.items():
            (tmp_path / "data" / key.rpartition("/")[2]).write_bytes(data)
        manifest = tmp_path / "2024-05-01T01-00Z" / "manifest.json"
        manifest.write_bytes(description({f"i/source/all/data/{key}": data for key, data in files.items()}, **changes))
        return str(manifest)

    return write


def read(url: str) -> pa.Table:
    return pa.concat_tables(objects(locate(url)))


def check(table: pa.Table) -> None:
    assert table.schema.equals(schema.MANIFEST)
    assert table.sort_by("uri").to_pylist() == sorted(
        (
            {
                "id": object_id(f"s3://source/{key}", f"e{len(key)}"),
                "uri": f"s3://source/{key}",
                "etag": f"e{len(key)}",
                "bytes": len(key),
                "modified": WHEN,
            }
            for key in KEYS
        ),
        key=lambda row: row["uri"],
    )


def test_csv(inventory):
    check(read(inventory({"1.csv.gz": as_csv(KEYS[:3]), "2.csv.gz": as_csv(KEYS[3:])})))


def test_parquet(inventory):
    fields = " ".join(f"optional binary {name};" for name in PARQUET)
    files = {"1.parquet": as_parquet(KEYS[:3]), "2.parquet": as_parquet(KEYS[3:])}
    check(read(inventory(files, fileFormat="Parquet", fileSchema=f"message s3.inventory {{ {fields} }}")))


def test_on_s3(bucket):
    data = {"i/source/all/data/1.csv.gz": as_csv(KEYS)}
    url = bucket(data)
    manifest = description(data, destinationBucket=f"arn:aws:s3:::{url.removeprefix('s3://')}")
    elsewhere = bucket({"copied/manifest.json": manifest})
    assert is_manifest(locate(f"{elsewhere}/copied/manifest.json"))
    check(read(f"{elsewhere}/copied/manifest.json"))


def test_few_columns(inventory):
    url = inventory({"1.csv.gz": as_csv(["a.jpg"], ["Bucket", "Key"])}, fileSchema="Bucket, Key")
    table = read(url)
    assert set(table["uri"].to_pylist()) == {"s3://source/a.jpg", "s3://source/deleted.jpg"}
    assert table["etag"].null_count == table["bytes"].null_count == len(table)


def test_damage_is_found_before_anything_is_used(inventory, tmp_path):
    url = inventory({"1.csv.gz": as_csv(KEYS)})
    (tmp_path / "data" / "1.csv.gz").write_bytes(as_csv(KEYS[1:]))
    with pytest.raises(UsageError, match=r"1\.csv\.gz is damaged: its MD5 is"):
        next(objects(locate(url)))


def test_a_missing_data_file_is_named(inventory, tmp_path, s3_server):
    url = inventory({"1.csv.gz": as_csv(KEYS)})
    (tmp_path / "data" / "1.csv.gz").unlink()
    with pytest.raises(UsageError, match=r"s3://destination/i/source/all/data/1\.csv\.gz does not exist"):
        read(url)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"fileFormat": "ORC"}, "S3 Inventory in ORC"), ({"fileSchema": "Bucket, Size"}, "without keys")],
)
def test_what_is_refused(inventory, changes, message):
    with pytest.raises(UsageError, match=message):
        read(inventory({}, **changes))


@pytest.mark.parametrize("text", [b"{}", b"[]", b"\xff\xd8", b'{"files": [], "fileFormat": "CSV"}'])
def test_another_manifest_json_is_a_file_like_any(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text)
    source = locate(str(tmp_path / "manifest.json"))
    assert not is_manifest(source)
    assert read(source.url)["uri"].to_pylist() == [source.path]
