import hashlib
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import schema
from cilf.errors import StoreError, UsageError
from cilf.manifest import shards, walking
from cilf.manifest.ids import object_id
from cilf.manifest.listing import check_input, objects, write_manifest
from cilf.storage import CHECKING, locate

KEYS = [
    "plain.jpg",
    "no extension",
    ".hidden.jpg",
    "_underscore.jpg",
    "date=2024-01-01/a.jpg",
    "a b/c+d.jpg",
    "100%/%20.jpg",
    "hash#1.jpg",
    "[brackets]{x}*?.jpg",
    "quote'\"`.jpg",
    "grüße/日本.jpg",
    "upper/A.JPG",
    "list.parquet",
    "x" * 200 + "/" + "y" * 200 + "/" + "z" * 200 + ".jpg",
]


def listed(url: str, include: tuple[str, ...] = ()) -> pa.Table:
    return pa.concat_tables(objects(locate(url), include))


@pytest.fixture
def folder(tmp_path):
    for key in KEYS:
        file = tmp_path / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(key.encode())
    return tmp_path


def test_a_folder(folder):
    table = listed(str(folder))
    assert table.schema.equals(schema.MANIFEST)
    assert sorted(table["uri"].to_pylist()) == sorted(f"{folder}/{key}" for key in KEYS)
    assert dict(zip(table["uri"].to_pylist(), table["bytes"].to_pylist(), strict=True)) == {
        f"{folder}/{key}": len(key.encode()) for key in KEYS
    }
    assert table.equals(listed(f"file://{folder}/"))


def test_a_prefix(bucket):
    url = bucket({key: key.encode() for key in [*KEYS, "folder/", "a//b.jpg", "photos2/other.jpg"]})
    table = listed(url)
    assert table.schema.equals(schema.MANIFEST)
    assert set(table["uri"].to_pylist()) == {
        f"{url}/{key}" for key in [*KEYS, "folder/", "a//b.jpg", "photos2/other.jpg"]
    }
    row = table.to_pylist()[table["uri"].to_pylist().index(f"{url}/plain.jpg")]
    assert row["etag"] == hashlib.md5(b"plain.jpg").hexdigest()
    assert row["bytes"] == len("plain.jpg")
    assert listed(f"{url}/date=2024-01-01")["uri"].to_pylist() == [f"{url}/date=2024-01-01/a.jpg"]
    assert listed(f"{url}/plain.jpg")["uri"].to_pylist() == [f"{url}/plain.jpg"]


def test_a_prefix_ends_at_a_slash(bucket):
    url = bucket({"photos/a": b"a", "photos2/b": b"b"})
    assert listed(f"{url}/photos")["uri"].to_pylist() == [f"{url}/photos/a"]


def test_links(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"1")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    names = [uri.rpartition("/")[2] for uri in listed(str(tmp_path))["uri"].to_pylist()]
    assert names == ["file", "link", "nowhere"]


def test_a_name_that_is_no_text_gets_a_row(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).touch()
    assert listed(str(tmp_path))["uri"].to_pylist() == [f"{tmp_path}/\\xff.jpg"]


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        (("*.JPG",), ["upper/A.JPG"]),
        (("date=*/*",), ["date=2024-01-01/a.jpg"]),
        (("plain.*", "hash#?.jpg"), ["hash#1.jpg", "plain.jpg"]),
        (("none",), []),
    ],
)
def test_include(folder, globs, expected):
    assert listed(str(folder), globs)["uri"].to_pylist() == [f"{folder}/{key}" for key in expected]


@pytest.mark.parametrize("stop", [0, 1, 3, 6])
def test_a_walk_goes_on_behind_a_file(tmp_path, stop):
    for path in ("a", "b/1", "b/2", "b.c/3", "d/4/5", "d/6", "e"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    folder = locate(str(tmp_path))
    ((table, _),) = walking.walk(folder)
    paths = table["uri"].to_pylist()
    Path(paths[stop]).unlink()  # The file from which the walk resumes may be gone.
    rest = [uri for table, _ in walking.walk(folder, paths[stop]) for uri in table["uri"].to_pylist()]
    assert rest == paths[stop + 1 :]


def test_a_changed_file_is_another_object(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    before = listed(str(tmp_path))["id"]
    assert listed(str(tmp_path))["id"].equals(before)
    os.utime(tmp_path / "a", (1, 1))
    assert not listed(str(tmp_path))["id"].equals(before)


def test_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_ROWS", 3)
    tables = [listed_table([f"{part}{number}" for number in range(2)]) for part in "abcd"]
    ids = write_manifest(tables, locate(str(tmp_path / "shards")))
    files = sorted((tmp_path / "shards").iterdir())
    assert [file.name for file in files] == ["part-00000.parquet", "part-00001.parquet"]
    written = pa.concat_tables(pq.read_table(file) for file in files)
    assert written["id"].to_pylist() == ids.tolist() == pa.concat_tables(tables)["id"].to_pylist()
    assert written.schema.equals(schema.MANIFEST)


def listed_table(uris: list[str]) -> pa.Table:
    rows = [{"id": object_id(uri, None), "uri": uri} for uri in uris]
    return pa.Table.from_pylist(rows, schema=schema.MANIFEST)


def test_no_rows_no_shards(tmp_path):
    assert len(write_manifest([schema.MANIFEST.empty_table()], locate(str(tmp_path / "shards")))) == 0
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize("source", ["gone", "gone.parquet"])
def test_check_names_what_is_missing(tmp_path, source):
    with pytest.raises(UsageError, match=f"{source} does not exist"):
        check_input(locate(str(tmp_path / source), CHECKING))


def test_check_refuses_what_is_empty(tmp_path, bucket):
    with pytest.raises(UsageError, match="nothing to label"):
        check_input(locate(str(tmp_path), CHECKING))
    with pytest.raises(UsageError, match="nothing to label"):
        check_input(locate(bucket({"a": b""}) + "/photos", CHECKING))


def test_check_names_a_missing_bucket(s3_server):
    with pytest.raises(UsageError, match="s3://no-such-bucket does not exist"):
        check_input(locate("s3://no-such-bucket", CHECKING))


def test_check_names_what_may_not_be_looked_into(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(UsageError, match=f"cannot list INPUT: no permission for {tmp_path}/photos"):
        check_input(locate(f"{tmp_path}/photos", CHECKING))


@pytest.mark.parametrize("gone", ["b", "."])
def test_a_folder_that_goes_during_a_walk(folder, monkeypatch, gone):
    truly = os.scandir

    def scandir(path):
        if str(path) == f"{folder}/date=2024-01-01":
            shutil.rmtree(folder if gone == "." else path)
        return truly(path)

    monkeypatch.setattr(os, "scandir", scandir)
    if gone == ".":
        with pytest.raises(StoreError, match="does not exist"):
            listed(str(folder))
    else:
        uris = sorted(listed(str(folder))["uri"].to_pylist())
        assert uris == sorted(f"{folder}/{key}" for key in KEYS if not key.startswith("date="))


@pytest.mark.parametrize("suffix", ["txt", "lst", "json", "tsv", "TSV.gz", "xlsx", "tar.gz", "tar.xz", "zip", "7z"])
def test_a_file_of_many_objects_is_refused_with_advice(tmp_path, bucket, suffix):
    (tmp_path / f"list.{suffix}").write_text("a.jpg\nb.jpg\n")
    url = bucket({f"p/list.{suffix}": b"a.jpg\n"})
    for place in (f"{tmp_path}/list.{suffix}", f"{url}/p/list.{suffix}", f"{tmp_path}/*.{suffix}"):
        with pytest.raises(UsageError, match=r"one photograph: (convert it to a manifest|unpack it)"):
            check_input(locate(place, CHECKING))
    # In a folder, it is one of the objects.
    check_input(locate(str(tmp_path), CHECKING))
    assert listed(str(tmp_path))["uri"].to_pylist() == [f"{tmp_path}/list.{suffix}"]


def test_a_glob_of_photographs(tmp_path, bucket):
    (tmp_path / "a.jpg").touch()
    for place in (str(tmp_path), f"{bucket({'a.jpg': b''})}/p"):
        with pytest.raises(UsageError, match=rf"use {place} --include '\*\.jpg'"):
            check_input(locate(f"{place}/*.jpg", CHECKING))


def test_nothing_fits_and_it_is_said(folder, capsys):
    assert sum(map(len, objects(locate(str(folder)), ("*.JPEG",)))) == 0
    assert "none of 14 objects matches --include '*.JPEG'" in capsys.readouterr().err
    assert sum(map(len, objects(locate(str(folder)), ("plain.*",)))) == 1
    assert capsys.readouterr().err == ""
