import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import schema
from cilf.errors import UsageError
from cilf.manifest.ids import object_id
from cilf.manifest.listing import is_manifest, objects
from cilf.storage import locate


def read(path) -> pa.Table:
    return pa.concat_tables(objects(locate(str(path))))


def write(path, suffix: str, rows: list[dict[str, object]]):
    file = path / f"list{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        names = list(rows[0])
        file.write_text("\n".join(",".join(str(row[n]) for n in names) for row in [{n: n for n in names}, *rows]))
    return file


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_formats(tmp_path, suffix):
    rows = [{"uri": "a b.jpg", "shelf": 3, "etag": "007"}, {"uri": "s3://b/k%20#1", "shelf": 4, "etag": "e"}]
    table = read(write(tmp_path, suffix, rows))
    assert table["uri"].to_pylist() == [f"{tmp_path}/a b.jpg", "s3://b/k%20#1"]
    assert table["etag"].to_pylist() == ["007", "e"]
    assert table["bytes"].null_count == 2
    assert table.schema.equals(schema.extend(schema.MANIFEST, [pa.field("shelf", pa.int64())]))


def test_own_columns_keep_their_type(tmp_path):
    types = {"small": pa.int8(), "day": pa.date32(), "tags": pa.list_(pa.string()), "price": pa.decimal128(9, 2)}
    columns = {name: pa.nulls(1, kind) for name, kind in types.items()}
    pq.write_table(pa.table({"uri": ["a"], **columns}), tmp_path / "m.parquet")
    table = read(tmp_path / "m.parquet")
    assert {name: table.schema.field(name).type for name in types} == types


def test_an_empty_column_gets_a_type(tmp_path):
    pq.write_table(pa.table({"uri": ["a"], "note": pa.nulls(1)}), tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet").schema.field("note").type == pa.string()


def test_a_folder_of_parquet(tmp_path):
    folder = tmp_path / "night.parquet"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    for part in "ba":
        pq.write_table(pa.table({"uri": [f"/{part}"]}), folder / f"{part}.parquet")
    assert read(folder)["uri"].to_pylist() == ["/a", "/b"]


def test_what_is_no_data_in_a_folder_of_parquet(tmp_path):
    folder = tmp_path / "night.parquet"
    for name in ("shelf=1/a.parquet", "_temporary/b.parquet", "_b.parquet", ".c.parquet", ".d/e.parquet"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"uri": [f"/{name}"]}), folder / name)
    assert read(folder)["uri"].to_pylist() == ["/shelf=1/a.parquet"]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
def test_kinds_of_text(tmp_path, kind):
    uris = pa.array(["a", "/b", "s3://b/c"]).cast(kind)
    pq.write_table(pa.table({"uri": uris, "etag": uris}), tmp_path / "m.parquet")
    table = read(tmp_path / "m.parquet")
    assert table["uri"].to_pylist() == [f"{tmp_path}/a", "/b", "s3://b/c"]
    assert table["id"].to_pylist() == [
        object_id(f"{tmp_path}/a", "a"), object_id("/b", "/b"), object_id("s3://b/c", "s3://b/c"),
    ]  # fmt: skip


def test_file_urls(tmp_path):
    uris = ["file:///x", "FILE:///y", "file:z", "files://b/k"]
    pq.write_table(pa.table({"uri": uris}), tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet")["uri"].to_pylist() == ["/x", "/y", f"{tmp_path}/file:z", "files://b/k"]


def test_only_the_name_makes_a_manifest(tmp_path):
    pq.write_table(pa.table({"uri": ["a"]}), tmp_path / "m.parquet")
    assert not is_manifest(locate(str(tmp_path)))
    assert read(tmp_path)["uri"].to_pylist() == [f"{tmp_path}/m.parquet"]


def test_each_object_once(tmp_path):
    rows = [
        {"uri": "/a", "etag": "1"},
        {"uri": "/a", "etag": "1"},
        {"uri": "/a", "etag": "2"},
        {"uri": "/b", "etag": "1"},
    ]
    table = read(write(tmp_path, ".parquet", rows))
    assert list(zip(table["uri"].to_pylist(), table["etag"].to_pylist(), strict=True)) == [
        ("/a", "1"), ("/a", "2"), ("/b", "1"),
    ]  # fmt: skip


def test_a_manifest_of_ours_is_read_again(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a").write_bytes(b"1")
    ours = read(tmp_path / "photos")
    pq.write_table(ours, tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet").equals(ours)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"url": "a"}], "no column `uri`.*url"),
        ([{"uri": "a", "status": "x"}], "status"),
        ([{"uri": "a", "model": "x"}], "model"),
        ([{"uri": "a", "id": 17}], "`id`"),
        ([{"uri": ""}], "without uri"),
        ([{"uri": "a", "bytes": "many"}], "list.parquet"),
    ],
)
def test_what_is_refused(tmp_path, rows, message):
    with pytest.raises(UsageError, match=message):
        read(write(tmp_path, ".parquet", rows))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_a_damaged_manifest_is_named(tmp_path, suffix):
    (tmp_path / f"list{suffix}").write_bytes(b"{ no manifest")
    with pytest.raises(UsageError, match=f"list{suffix}"):
        read(tmp_path / f"list{suffix}")


def test_files_that_differ_are_refused(tmp_path):
    folder = tmp_path / "night.parquet"
    folder.mkdir()
    pq.write_table(pa.table({"uri": ["/a"], "shelf": [1]}), folder / "1.parquet")
    pq.write_table(pa.table({"uri": ["/b"]}), folder / "2.parquet")
    with pytest.raises(UsageError, match="shelf"):
        read(folder)
