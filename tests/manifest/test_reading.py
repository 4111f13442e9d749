import gzip
import json
import os
import re
from datetime import UTC, datetime
from importlib.util import find_spec

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import schema
from cilf.errors import UsageError
from cilf.manifest.ids import object_id
from cilf.manifest.listing import check_input, is_manifest, objects
from cilf.manifest.uris import absolute
from cilf.storage import locate
from cilf.training.sources import open_source


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
    shelf = pa.string() if suffix == ".csv" else pa.int64()
    assert table["uri"].to_pylist() == [f"{tmp_path}/a b.jpg", "s3://b/k%20#1"]
    assert table["etag"].to_pylist() == ["007", "e"]
    assert table["bytes"].null_count == 2
    assert table.schema.equals(schema.extend(schema.MANIFEST, [pa.field("shelf", shelf)]))


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
    uris = ["file:///x", "FILE:///y", "file:z"]
    pq.write_table(pa.table({"uri": uris}), tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet")["uri"].to_pylist() == ["/x", "/y", f"{tmp_path}/file:z"]


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
        ([{"uri": ""}], "has no uri"),
        ([{"uri": "a", "bytes": "many"}], "list.parquet"),
    ],
)
def test_what_is_refused(tmp_path, rows, message):
    with pytest.raises(UsageError, match=message):
        read(write(tmp_path, ".parquet", rows))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv.gz"])
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


def test_a_part_that_may_not_be_read_is_not_left_out(tmp_path, monkeypatch):
    for part in ("open", "closed"):
        (tmp_path / "night.parquet" / part).mkdir(parents=True)
        pq.write_table(pa.table({"uri": ["/a"]}), tmp_path / "night.parquet" / part / "1.parquet")
    truly = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return truly(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match=r"no permission .*night\.parquet/closed"):
        read(tmp_path / "night.parquet")


@pytest.mark.parametrize(
    ("uri", "whole"),
    [
        ("./a/b.jpg", "s3://b/m/n/a/b.jpg"),
        ("../x.jpg", "s3://b/m/x.jpg"),
        ("../../x.jpg", "s3://b/x.jpg"),
        ("a/../b", "s3://b/m/n/b"),
        ("a//b...", "s3://b/m/n/a//b..."),
        ("/y/../x", "/x"),
        ("s3://b/./x/../y", "s3://b/./x/../y"),
    ],
)
def test_relative_uris_are_the_keys_that_they_mean(s3_server, uri, whole):
    assert absolute(pa.array([uri]), locate("s3://b/m/n")).to_pylist() == [whole]


def test_relative_paths_are_named_as_a_listing_names_them(tmp_path):
    rows = [{"uri": "./a.jpg"}, {"uri": "../b.jpg"}, {"uri": "c//d.jpg"}]
    uris = read(write(tmp_path, ".csv", rows))["uri"].to_pylist()
    assert uris == [f"{tmp_path}/a.jpg", f"{tmp_path.parent}/b.jpg", f"{tmp_path}/c/d.jpg"]


def test_one_file_under_several_names_is_one_object(tmp_path):
    names = ["ph/a.jpg", f"{tmp_path}/./ph/a.jpg", f"/{tmp_path}//ph/a.jpg", f"file://{tmp_path}/ph/../ph/a.jpg"]
    assert read(write(tmp_path, ".csv", [{"uri": name} for name in names]))["uri"].to_pylist() == [
        f"{tmp_path}/ph/a.jpg"
    ]


def test_a_uri_that_leads_out_of_its_bucket(s3_server):
    with pytest.raises(UsageError, match=r"\.\./\.\./x leads out of the bucket b"):
        absolute(pa.array(["../../x"]), locate("s3://b/m"))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_quotes_around_an_etag_do_not_count(tmp_path, suffix):
    table = read(write(tmp_path, suffix, [{"uri": "/a", "etag": '"abc"'}, {"uri": "/b", "etag": None}]))
    assert table["etag"].to_pylist() == ["abc", None]
    assert table["id"].to_pylist() == [object_id("/a", "abc"), object_id("/b", None)]


def test_csv_is_carried_as_it_is_written(tmp_path):
    head, first, last = "uri,subject,note,country,bytes\n", "/a,0042,,NA,5.0\n", '/b,x,"two\nlines",,NA\n'
    (tmp_path / "m.csv").write_text(head + first + last)
    table = read(tmp_path / "m.csv").select(["subject", "note", "country", "bytes"])
    assert table.to_pylist() == [
        {"subject": "0042", "note": None, "country": "NA", "bytes": 5},
        {"subject": "x", "note": "two\nlines", "country": None, "bytes": None},
    ]


def test_a_csv_whose_columns_change_after_the_first_megabyte(tmp_path):
    rows = [f'/{number},,{number},"a\nb"\n' for number in range(120_000)] + ["/last,late,high,\n"]
    (tmp_path / "m.csv").write_text("uri,note,shelf,quoted\n" + "".join(rows))
    table = read(tmp_path / "m.csv")
    assert len(table) == len(rows)
    assert table.slice(len(rows) - 1).select(["note", "shelf"]).to_pylist() == [{"note": "late", "shelf": "high"}]
    assert set(table["quoted"].to_pylist()) == {"a\nb", None}


@pytest.mark.parametrize("block", [1 << 24, 1 << 16])
def test_json_lines_whose_fields_come_late(tmp_path, monkeypatch, block):
    monkeypatch.setattr("cilf.manifest.json_rows._BLOCK", block)
    rows = [{"uri": f"/{number}", "day": "2024-05-01", "score": 1, "none": None} for number in range(40_000)]
    rows.append({"uri": "/last", "day": "unknown", "score": 1.5, "note": "late", "tags": {"at": "2024-05-01"}})
    table = read(write(tmp_path, ".jsonl", rows))
    assert len(table) == len(rows)
    own = table.select(["day", "score", "none", "note", "tags"])
    first = {"day": "2024-05-01", "score": 1.0, "none": None, "note": None, "tags": None}
    last = {"day": "unknown", "score": 1.5, "none": None, "note": "late", "tags": {"at": "2024-05-01"}}
    assert [own.slice(row, 1).to_pylist()[0] for row in (0, len(rows) - 1)] == [first, last]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_times_and_sizes_as_text(tmp_path, suffix):
    times = ["2024-05-01T10:11:12Z", "2024-05-01 10:11:12", "2024-05-01T12:11:12+02:00", "2024-05-01"]
    rows = [{"uri": f"/{at}", "modified": at, "bytes": 7} for at in times]
    table = read(write(tmp_path, suffix, rows))
    at = datetime(2024, 5, 1, 10, 11, 12, tzinfo=UTC)
    assert table["modified"].to_pylist() == [at, at, at, datetime(2024, 5, 1, tzinfo=UTC)]
    assert table["bytes"].to_pylist() == [7] * 4


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.CSV", b"uri\n/a\n"),
        ("m.csv.gz", gzip.compress(b"uri\n/a\n")),
        ("m.ndjson", b'{"uri": "/a"}\n'),
        ("m.jsonl.gz", gzip.compress(b'{"uri": "/a"}')),
    ],
)
def test_other_names_of_manifests(tmp_path, name, text):
    (tmp_path / name).write_bytes(text)
    assert is_manifest(locate(f"{tmp_path}/{name}"))
    assert read(tmp_path / name)["uri"].to_pylist() == ["/a"]


@pytest.mark.parametrize("name", ["s.tar.gz", "s.TGZ", "s.zip", "m.tsv"])
def test_one_file_of_many_objects_is_refused(tmp_path, bucket, name):
    (tmp_path / name).write_bytes(b"x")
    for place in (f"{tmp_path}/{name}", bucket({f"p/{name}": b"x"}) + f"/p/{name}"):
        with pytest.raises(UsageError, match=r"read as one photograph: (unpack it|convert it to a manifest)"):
            check_input(locate(place))
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "folder.zip" / "a").touch()
    check_input(locate(f"{tmp_path}/folder.zip"))


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("s3a://b/k.jpg", "s3://b/k.jpg"),
        ("s3n://b/k.jpg", "s3://b/k.jpg"),
        ("S3A://b/K.jpg", "s3://b/K.jpg"),
        ("S3://b/k.jpg", "s3://b/k.jpg"),
        ("  s3://b/k.jpg ", "s3://b/k.jpg"),
        ("s3://b/k.jpg ", "s3://b/k.jpg "),
        ("s3://b//k.jpg", "s3://b//k.jpg"),
        ("tar+s3a://b/x.tar#512:3/k.jpg", "tar+s3://b/x.tar#512:3/k.jpg"),
        ("parquet+file:///x.parquet#1/image", "parquet+file:///x.parquet#1/image"),
        ("file:/data/k.jpg", "/data/k.jpg"),
        ("file:///data/k.jpg", "/data/k.jpg"),
        ("file://localhost/data/k.jpg", "/data/k.jpg"),
        (" /data/k.jpg", None),
        ("/data/./k.jpg", "/data/k.jpg"),
        ("/data//k.jpg", "/data/k.jpg"),
        ("//data/k.jpg", "/data/k.jpg"),
        ("///data/k.jpg", "/data/k.jpg"),
        ("/data/x/../k.jpg", "/data/k.jpg"),
        ("/../data/k.jpg", "/data/k.jpg"),
        ("file:///data/../data//k.jpg", "/data/k.jpg"),
        ("file:////data/k.jpg", "/data/k.jpg"),
        ("/data/x/..", "/data"),
        ("/data/.k.jpg", "/data/.k.jpg"),
        ("/data/..k/...", "/data/..k/..."),
        ("/data/k.jpg.", "/data/k.jpg."),
        ("/data/a\nb.jpg", "/data/a\nb.jpg"),
        ("/data/a\n/../b.jpg", "/data/b.jpg"),
        ("s3://b/./x/../k.jpg", "s3://b/./x/../k.jpg"),
    ],
)
def test_each_object_has_one_name(tmp_path, written, read_as):
    pq.write_table(pa.table({"uri": [written]}), tmp_path / "m.parquet")
    found = read(tmp_path / "m.parquet")["uri"].to_pylist()
    assert found == [read_as or f"{tmp_path}/{written}"]
    twice = pa.table({"uri": [written, read_as or written]})
    pq.write_table(twice, tmp_path / "m.parquet")
    assert len(read(tmp_path / "m.parquet")) == 1


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "https://x/y.jpg",
            "http://x/y.jpg",
            "ftp://x/y.jpg",
            "hdfs://n/y.jpg",
            "abfss://c@a.dfs.core.windows.net/y.jpg",
        ),
        *("dbfs:/mnt/y.jpg", "hdfs:/y.jpg", "s3:/b/y.jpg", "data:image/png;base64,iVBORw0KGgo=", "what://x/y.jpg"),
        *("C:\\y.jpg", "c:/y.jpg", "\\\\host\\y.jpg", "file://host/y.jpg", "tar+https://x/y.tar#512:3/y.jpg"),
        *("s3://b", "s3://b/", "s3:///y.jpg"),
    ],
)
def test_a_uri_that_can_never_be_read_is_refused_before_anything_is_done(tmp_path, uri):
    rows = [*(f"/data/{number}.jpg" for number in range(9)), uri, "https://another"]
    pq.write_table(pa.table({"uri": rows}), tmp_path / "m.parquet")
    with pytest.raises(UsageError, match=re.escape(uri)) as refused:
        check_input(locate(f"{tmp_path}/m.parquet"))
    assert "another" not in str(refused.value).replace("names another machine", "")


def test_a_uri_far_behind_that_can_never_be_read(tmp_path):
    pq.write_table(pa.table({"uri": [*(f"/{n}" for n in range(40_000)), "https://x/y.jpg"]}), tmp_path / "m.parquet")
    with pytest.raises(
        UsageError, match=r"https://x/y.jpg: cannot open https:// \(known: a plain path, file://, s3://"
    ):
        read(tmp_path / "m.parquet")


def test_google_storage_without_its_package(tmp_path):
    pq.write_table(pa.table({"uri": ["/a", "gs://b/k.jpg"]}), tmp_path / "m.parquet")
    if find_spec("gcsfs") is None:
        with pytest.raises(UsageError, match="needs the package gcsfs"):
            check_input(locate(f"{tmp_path}/m.parquet"))
    else:
        check_input(locate(f"{tmp_path}/m.parquet"))


@pytest.mark.parametrize(
    ("sign", "kind", "name"),
    [
        ("_delta_log/00000000000000000000.json", "Delta", ""),
        ("_delta_log/00000000000000000000.json", "Delta", "/*.parquet"),
        ("metadata/00000-0.metadata.json", "Iceberg", ""),
        (".hoodie/hoodie.properties", "Hudi", ""),
        (".hoodie/hoodie.properties", "Hudi", "/*.parquet"),
    ],
)
def test_a_table_whose_log_says_what_counts_is_refused(tmp_path, sign, kind, name):
    folder = tmp_path / "m.parquet"
    (folder / sign).parent.mkdir(parents=True)
    (folder / sign).write_text("{}")
    pq.write_table(pa.table({"uri": ["/a"]}), folder / "part-0.parquet")
    with pytest.raises(
        UsageError, match=f"is a table of {kind}.*write its current rows into a Parquet file"
    ) as refused:
        check_input(locate(f"{folder}{name}"))
    assert (f"{kind.lower()}_scan('{folder}')" in str(refused.value)) == (kind != "Hudi")  # DuckDB cannot read Hudi.
    assert ("DuckDB" in str(refused.value)) == (kind != "Hudi")


INSIDE = [
    ("t/_delta_log/0.json", "t/day=1", "Delta"),
    ("t/_delta_log/0.json", "t/day=1/hour=2", "Delta"),
    ("e=1/t/.hoodie/hoodie.properties", "e=1/t/day=1", "Hudi"),
    ("t/metadata/v1.metadata.json", "t/data", "Iceberg"),
    ("data/t/metadata/v1.metadata.json", "data/t/data/day=1", "Iceberg"),
]


@pytest.mark.parametrize(("sign", "folder", "kind"), [*INSIDE, ("t/_delta_log/0.json", "t/data/a", "Delta")])
def test_a_folder_inside_a_table_is_refused(tmp_path, sign, folder, kind):
    for place in (tmp_path / sign, tmp_path / folder / "m.parquet" / "x"):
        place.parent.mkdir(parents=True)
    (tmp_path / sign).touch()
    pq.write_table(pa.table({"uri": ["/a"]}), tmp_path / folder / "m.parquet" / "a.parquet")
    pq.write_table(pa.table({"image": [b"a"]}), tmp_path / folder / "b.parquet")
    (tmp_path / "link").symlink_to(tmp_path / folder)
    for place in (f"{folder}/*.parquet", f"{folder}/m.parquet", f"{folder}/m.parquet/*.parquet", "link/*.parquet"):
        with pytest.raises(UsageError, match=rf"lies in {tmp_path}.*/t, which is a table of {kind}"):
            check_input(locate(f"{tmp_path}/{place}"))
        with pytest.raises(UsageError, match=f"is a table of {kind}"):
            open_source(f"{tmp_path}/{place}", None)


@pytest.mark.parametrize(("sign", "folder", "kind"), INSIDE)
def test_a_folder_inside_a_table_in_a_store_is_refused(tmp_path, bucket, sign, folder, kind):
    pq.write_table(pa.table({"image": [b"a"]}), tmp_path / "a.parquet")
    url = bucket({sign: b"{}", f"{folder}/a.parquet": (tmp_path / "a.parquet").read_bytes()})
    for reader in (
        lambda: check_input(locate(f"{url}/{folder}/*.parquet")),
        lambda: open_source(f"{url}/{folder}", None),
    ):
        with pytest.raises(UsageError, match=rf"lies in {url}/.*t, which is a table of {kind}"):
            reader()


def test_a_log_below_a_folder_of_a_manifest(tmp_path):
    (tmp_path / "m.parquet" / "t" / "_delta_log").mkdir(parents=True)
    pq.write_table(pa.table({"uri": ["/a"]}), tmp_path / "m.parquet" / "t" / "a.parquet")
    with pytest.raises(UsageError, match="is a table of Delta"):
        check_input(locate(f"{tmp_path}/m.parquet"))


def test_what_only_resembles_a_table_is_read(tmp_path, bucket):
    pq.write_table(pa.table({"image": [b"a"]}), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    url = bucket({"t/m/day=1/a.parquet": data, "t/data/a.parquet": data, "t/metadata/faces.json": b"{}"})
    for key in ("t/m/day=1/a.parquet", "t/metadata/v1.metadata.json"):
        (tmp_path / key).parent.mkdir(parents=True)
        (tmp_path / key).write_bytes(data)
    for place in (f"{tmp_path}/t/m/day=1", f"{url}/t/m/day=1", f"{url}/t/data"):
        check_input(locate(f"{place}/*.parquet"))
