"""`cilf list` from end to end: its output, what it refuses, and the permissions that it needs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3fs import S3FileSystem

from cilf import cli, schema
from cilf.errors import UsageError
from cilf.manifest import folder, listing, shards
from cilf.manifest.listing import check_input, is_manifest, objects
from cilf.storage import locate


def listed(*arguments: str | Path) -> pa.Table:
    """Run `cilf list` and read its output as any reader would."""
    assert cli.main(["list", *map(str, arguments)]) == 0
    return pq.read_table(next(str(place) for place in reversed(arguments) if not str(place).startswith("-")))


@pytest.fixture
def photos(tmp_path) -> Path:
    for name in ("a.jpg", "b/c.jpg", "b/d.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(name.encode())
    return tmp_path / "photos"


@pytest.fixture
def refused(capsys):
    def main(*arguments: str | Path, code: int = cli.WRONG_USAGE) -> str:
        assert cli.main(["list", *map(str, arguments)]) == code
        return capsys.readouterr().err

    return main


def test_a_listing_is_what_label_would_list(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    direct = pa.concat_tables(objects(locate(str(photos))))
    written = listed(photos, tmp_path / "list")
    assert written.sort_by("uri").equals(direct.sort_by("uri"))
    assert is_manifest(locate(str(tmp_path / "list")))
    check_input(locate(str(tmp_path / "list")))
    # Its ids are used as they are, without a check for repeats.
    monkeypatch.setattr(listing, "object_ids", None)
    monkeypatch.setattr(listing.Seen, "new", None)
    again = pa.concat_tables(objects(locate(f"{tmp_path}/list/")))
    assert again.sort_by("uri").equals(direct.sort_by("uri"))
    fitting = pa.concat_tables(objects(locate(f"{tmp_path}/list"), ("*.png",)))
    assert fitting["uri"].to_pylist() == [f"{photos}/b/d.png"]


def test_the_record(photos, tmp_path, capsys):
    listed(photos, photos / "b", photos, tmp_path / "list", "--include=*.jpg")
    record = json.loads((tmp_path / "list" / "_manifest.json").read_text())
    assert record["complete"] is True
    assert (record["objects"], record["bytes"], record["duplicates"]) == (2, len("a.jpg") + len("b/c.jpg"), 1)
    assert record["inputs"] == [str(photos), f"{photos}/b", str(photos)]
    assert record["include"] == ["*.jpg"]
    assert record["schema"] == schema.VERSION
    assert {file.name for file in (tmp_path / "list").iterdir()} == {"_manifest.json", record["parts"][0]["name"]}
    assert "listed 2 objects" in capsys.readouterr().out


def test_inputs_of_every_kind(photos, tmp_path, keys, s3_server):
    keys.keys = ["p/1.jpg", "p/2.jpg"]
    uris = [str(photos / "a.jpg"), "s3://other/x"]
    pq.write_table(pa.table({"uri": uris, "shelf": pa.array([1, 2], pa.int8())}), tmp_path / "m.parquet")
    (tmp_path / "m.csv").write_text("uri,etag,note\ns3://b/p/1.jpg,7,seen\ns3://other/x,,\n")
    first = listed(photos / "b", "s3://b/p", tmp_path / "m.parquet", tmp_path / "m.csv", tmp_path / "list")
    wanted = [pa.field("shelf", pa.int8()), pa.field("note", pa.string())]
    assert first.schema.remove_metadata().equals(schema.extend(schema.MANIFEST, wanted))
    rows = {(row["uri"], row["shelf"], row["note"]) for row in first.to_pylist()}
    # The object in m.csv with the etag of p/1.jpg, 7, is the same object; so is the one in m.parquet.
    assert rows == {
        (f"{photos}/b/c.jpg", None, None),
        (f"{photos}/b/d.png", None, None),
        ("s3://b/p/1.jpg", None, None),
        ("s3://b/p/2.jpg", None, None),
        (f"{photos}/a.jpg", 1, None),
        ("s3://other/x", 2, None),
    }
    assert len(first) == len(rows)
    # A listing can be an INPUT too, so listings can be merged.
    both = listed(tmp_path / "list", photos, tmp_path / "more")
    assert len(both) == 6 + 1  # a.jpg, which now has an etag
    assert both.schema.names == first.schema.names


def test_each_object_once_however_inputs_overlap(keys, tmp_path, s3_server):
    keys.keys = ["p/a/1", "p/a/2", "p/b", "p", "q"]
    table = listed("s3://b/p/a", "s3://b/p/", "s3://b/p", "s3://b/p/b", tmp_path / "list")
    assert sorted(table["uri"].to_pylist()) == ["s3://b/p/a/1", "s3://b/p/a/2", "s3://b/p/b"]
    assert [asked for asked in keys.asked if asked[1] > 1] == [("p/", 1000)]
    assert len(listed("s3://b/p/a", "s3://b/p", tmp_path / "some", "--include=a*")) == 2
    assert len(listed("s3://b/p/a", "s3://b/p", tmp_path / "none", "--include=1")) == 1


def test_nothing_fits(photos, tmp_path, capsys):
    assert cli.main(["list", str(photos), f"{tmp_path}/list", "--include", "*.JPG"]) == 0
    assert list(objects(locate(f"{tmp_path}/list"))) == []
    said = capsys.readouterr()
    assert "listed 0 objects of 0 bytes" in said.out
    for stream in said:
        assert "none of 3 objects matches --include '*.JPG': 2 would match in other case, such as a.jpg" in stream


def test_one_object_is_no_objects(photos, tmp_path, capsys):
    listed(photos / "b" / "c.jpg", tmp_path / "list", "--include=*.jpg")
    assert "listed 1 object of 7 bytes" in capsys.readouterr().out


def test_what_is_wrong_far_inside_a_manifest_is_the_manifest_s(refused, tmp_path):
    rows = [*(f"/{number}" for number in range(40_000)), "https://x/y.jpg"]
    pq.write_table(pa.table({"uri": rows}), tmp_path / "m.parquet")
    assert "the uri https://x/y.jpg: cannot open" in refused(tmp_path / "m.parquet", tmp_path / "list")


def test_yaml(photos, tmp_path):
    (tmp_path / "list.yaml").write_text(f"places: [{photos}, {tmp_path}/list]\ninclude: ['*.png']\n")
    assert cli.main(["list", "--config", f"{tmp_path}/list.yaml"]) == 0
    assert len(pq.read_table(tmp_path / "list")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "requires an argument"),
        (["{photos}"], "expected at least two places: INPUT... MANIFEST, .*only .*photos is given"),
        (["{photos}", "{tmp}/into photos/list"], "inside INPUT"),
        (["file://{photos}", "{tmp}/into photos"], "inside INPUT"),
        (["{tmp}/into photos", "{photos}/b/list"], "inside INPUT"),
        (["{tmp}/3.txt", "{tmp}/list"], "one photograph: convert it to a manifest"),
        (["{tmp}/4.csv", "{tmp}/list"], "the uri https://x/y.jpg: cannot open https://"),
        (["https://x/y", "{tmp}/list"], "cannot open https://"),
        (["{photos}", "{tmp}/gone", "{tmp}/list"], "gone does not exist"),
        (["{photos}", "{tmp}/list", "--includ", "x"], "Did you mean --include?"),
        (["{photos}", "{photos}/list"], "inside INPUT"),
        (["{photos}/b", "{photos}"], "is not empty and holds no listing"),
        (["{photos}", "/proc/list"], "cannot write to MANIFEST"),
        (["{photos}", "s3://no-such-bucket/list"], "cannot write to MANIFEST"),
        (["s3://no-such-bucket", "{tmp}/list"], "s3://no-such-bucket does not exist"),
        (["{tmp}/1.jsonl", "{tmp}/2.jsonl", "{tmp}/list"], "column shelf .* differs"),
        (["{tmp}/3.jsonl", "{tmp}/list"], "no column `uri`"),
    ],
)
def test_what_is_refused(refused, photos, tmp_path, s3_server, arguments, message):
    for number, text in enumerate(
        ['{"uri": "/a", "shelf": 1}\n', '{"uri": "/b", "shelf": "high"}\n', '{"url": "/a"}\n'], 1
    ):
        (tmp_path / f"{number}.jsonl").write_text(text)
    (tmp_path / "3.txt").write_text("/a\n")
    (tmp_path / "4.csv").write_text("uri\nhttps://x/y.jpg\n")
    (tmp_path / "into photos").symlink_to(photos)
    said = refused(*(argument.format(photos=photos, tmp=tmp_path) for argument in arguments))
    assert re.search(message, said), said
    assert not (tmp_path / "list").exists()


def test_a_listing_of_another_kind_is_no_manifest(photos):
    for text in ("{}", "[1]", "{", '{"complete": true}'):
        (photos / "_manifest.json").write_text(text)
        assert not is_manifest(locate(str(photos)))
        assert f"{photos}/_manifest.json" in pa.concat_tables(objects(locate(str(photos))))["uri"].to_pylist()


@pytest.mark.parametrize("damage", ["unlink", "shorten", "truncate"])
def test_a_damaged_listing_is_refused(photos, tmp_path, damage):
    table = listed(photos, tmp_path / "list")
    (part,) = (tmp_path / "list").glob("*.parquet")
    if damage == "unlink":
        part.unlink()
    elif damage == "shorten":
        pq.write_table(table.slice(1), part)
    else:
        part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(UsageError, match=part.name):
        list(objects(locate(f"{tmp_path}/list")))


def test_a_listing_of_another_version_is_refused(photos, tmp_path, monkeypatch):
    listed(photos, tmp_path / "list")
    monkeypatch.setattr(folder.schema, "VERSION", schema.VERSION + 1)
    with pytest.raises(UsageError, match="another version of CILF: list it again"):
        check_input(locate(f"{tmp_path}/list"))


def test_a_role_that_may_list_one_prefix(bucket, monkeypatch):
    url = bucket({f"photos/{number}": b"" for number in range(3)} | {"secret/x": b""})
    asked: list[tuple[str, str]] = []
    truly = S3FileSystem._call_s3

    async def restricted(self, method, *arguments, **options):
        asked.append((method, options.get("Key") or options.get("Prefix") or ""))
        if method == "list_objects_v2" and not options["Prefix"].startswith(("photos/", "lists/mine/")):
            raise PermissionError("AccessDenied")
        if method in ("create_bucket", "head_bucket", "get_bucket_location", "list_buckets"):
            raise PermissionError("AccessDenied")
        return await truly(self, method, *arguments, **options)

    monkeypatch.setattr(S3FileSystem, "_call_s3", restricted)
    assert cli.main(["list", f"{url}/photos/", f"{url}/lists/mine"]) == 0
    table = pa.concat_tables(objects(locate(f"{url}/lists/mine")))
    assert sorted(table["uri"].to_pylist()) == [f"{url}/photos/{number}" for number in range(3)]
    heads = [key for method, key in asked if method == "head_object" and key.startswith("photos/")]
    assert set(heads) <= {"photos/_manifest.json"}
    assert cli.main(["list", f"{url}/secret", f"{url}/lists/mine"]) == cli.WRONG_USAGE


def test_an_input_that_is_a_link_below_another(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "e.jpg").write_bytes(b"e")
    (photos / "2024").symlink_to(tmp_path / "elsewhere")
    table = listed(photos, photos / "2024", photos / "b", tmp_path / "list")
    assert sorted(table["uri"].to_pylist()) == [
        f"{photos}/{name}" for name in ("2024/e.jpg", "a.jpg", "b/c.jpg", "b/d.png")
    ]


def test_a_listing_that_may_not_be_replaced(refused, photos, tmp_path, monkeypatch):
    listed(photos, tmp_path / "list")

    def refuse(target, data):
        raise PermissionError(13, "Permission denied", target.path)

    monkeypatch.setattr("cilf.storage.write", refuse)
    monkeypatch.setattr("cilf.manifest.job.Lease", None)  # It is detected before.
    assert f"cannot write to MANIFEST: no permission for {tmp_path}/list" in refused(photos, tmp_path / "list")
