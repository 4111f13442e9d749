import io
import os
import socket
import tarfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf.images import fetch as fetching
from cilf.images import packed as packing
from cilf.images.fetch import FetchError, fetch
from cilf.manifest.listing import objects
from cilf.storage import locate


def statuses(answers: list[bytes | FetchError]) -> list[str | bytes]:
    return [answer.status if isinstance(answer, FetchError) else answer for answer in answers]


def test_local_files(tmp_path):
    (tmp_path / "a#b %20+[x].jpg").write_bytes(b"abc")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "long").write_bytes(b"x" * 11)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    names = ["a#b %20+[x].jpg", "empty", "long", "gone", "nowhere", "pipe", "empty/below", ""]
    uris = [f"{tmp_path}/{name}" for name in names]
    answers = fetch(uris, [None] * len(uris), max_bytes=10)
    assert statuses(answers) == [b"abc", b"", "too_large", "missing", "missing", "unreadable", "missing", "unreadable"]


def test_objects_known_to_be_large_are_not_read(tmp_path):
    (answer,) = fetch([f"{tmp_path}/not there"], [11], max_bytes=10)
    assert isinstance(answer, FetchError)
    assert answer.status == "too_large"
    assert "11 bytes" in answer.reason


def test_s3(bucket):
    keys = ["a.jpg", "folder/", "a?versionId=b", "x%2Fy+z #é[1].jpg", "a//b", "long"]
    url = bucket({key: key.encode() * (10 if key == "long" else 1) for key in keys})
    uris = [f"{url}/{key}" for key in [*keys, "gone"]]
    answers = fetch(uris, [None] * len(uris), max_bytes=30)
    assert statuses(answers) == [*(key.encode() for key in keys[:-1]), "too_large", "missing"]


def test_a_missing_bucket_is_missing(s3_server):
    assert statuses(fetch(["s3://no-such-bucket/key"], [None], 10)) == ["missing"]


def test_any_other_store(monkeypatch):
    """A store that fsspec opens and for which there is no special reader, such as gs://."""
    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/a b#?": b"abc", "/bucket/empty": b"", "/bucket/long": bytes(11)})
    monkeypatch.setattr("cilf.images.fetch.filesystem", lambda scheme: memory)
    uris = [f"gs://bucket/{name}" for name in ("a b#?", "empty", "long", "gone")]
    assert statuses(fetch(uris, [None] * 4, max_bytes=10)) == [b"abc", b"", "too_large", "missing"]


def test_a_kind_of_url_that_cannot_be_opened(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    answers = fetch(["azure://x/y", f"{tmp_path}/a"], [None, None], 10)
    assert statuses(answers) == ["unavailable", b"a"]


@pytest.mark.parametrize("uri", ["/proc/self/mem"])
def test_an_error_of_the_disk_is_unavailable(uri):
    (answer,) = fetch([uri], [None], 10)
    assert isinstance(answer, FetchError)
    assert answer.status == "unavailable"
    assert "\n" not in answer.reason


def packed(*images: bytes) -> dict[str, bytes]:
    """Images as a separate file, in a tar and in a Parquet file."""
    tar, parquet = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for number, data in enumerate(images):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    pq.write_table(pa.table({"image": list(images)}), parquet)
    return {"a.jpg": images[0], "a.tar": tar.getvalue(), "a.parquet": parquet.getvalue()}


def listed(place: str) -> pa.Table:
    return pa.concat_tables([table for name in packed(b"") for table in objects(locate(f"{place}/{name}"))])


def read(table: pa.Table) -> list[bytes | FetchError]:
    return fetch(table["uri"].to_pylist(), table["bytes"].to_pylist(), 10**6, table["etag"].to_pylist())


@pytest.mark.parametrize("where", ["disk", "S3", "S3, by botocore"])
def test_another_version_than_the_listed_one_is_not_read(where, tmp_path, bucket):
    place = locate({"disk": str(tmp_path), "S3": "{}/keys"}.get(where, "{}/odd//keys").format(bucket({})))
    for name, data in packed(b"first", b"second").items():
        (place / name).fs.pipe_file((place / name).path, data)
    before = listed(place.url)
    assert read(before) == [b"first", b"first", b"second", b"first", b"second"]
    for name, data in packed(b"third", b"fourth").items():
        (place / name).fs.pipe_file((place / name).path, data)
    answers = read(before)
    assert statuses(answers) == ["unavailable"] * 5
    assert {answer.reason for answer in answers} == {"it changed after it was listed: list it again"}
    assert read(listed(place.url)) == [b"third", b"third", b"fourth", b"third", b"fourth"]


@pytest.mark.parametrize("where", ["disk", "S3"])
def test_a_parquet_file_that_changes_while_it_is_read(where, tmp_path, bucket, monkeypatch):
    place = locate(str(tmp_path) if where == "disk" else bucket({})) / "a.parquet"
    place.fs.pipe_file(place.path, packed(b"x" * 10**6, b"y")["a.parquet"])
    before = pa.concat_tables(objects(place))
    truly = packing._images

    def overwritten(*asked):
        place.fs.pipe_file(place.path, packed(b"z" * 10**6, b"y")["a.parquet"])
        return truly(*asked)

    monkeypatch.setattr(packing, "_images", overwritten)
    assert {answer.reason for answer in read(before)} == {"it changed after it was listed: list it again"}


def test_a_shorter_tar_than_the_listed_one(bucket):
    place = locate(f"{bucket({})}/a.tar")
    place.fs.pipe_file(place.path, packed(b"x" * 5000, b"y")["a.tar"])
    before = pa.concat_tables(objects(place))
    place.fs.pipe_file(place.path, packed(b"z")["a.tar"])
    assert statuses(read(before)) == ["unavailable"] * 2


def test_a_file_of_the_same_size_is_another_version(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    before = pa.concat_tables(objects(locate(str(tmp_path))))
    (tmp_path / "a").write_bytes(b"new")
    os.utime(tmp_path / "a", ns=(0, -1))  # before 1970
    assert statuses(read(before)) == ["unavailable"]
    assert read(pa.concat_tables(objects(locate(str(tmp_path))))) == [b"new"]


def test_a_file_that_is_written_while_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")
    truly = fetching.check_local

    def check_local(etag, found):
        truly(etag, found)
        (tmp_path / "a").write_bytes(b"newer")

    monkeypatch.setattr(fetching, "check_local", check_local)
    assert statuses(fetch([f"{tmp_path}/a"], [None], 10)) == ["unavailable"]


@pytest.mark.parametrize(
    "etag",
    [
        *(None, "", "900150983cd24fb0d6963f7d28e17f72", '"900150983cd24fb0d6963f7d28e17f72-2"'),
        *("2024-05", "3-1", "20240501-2", "5e8f-1a2b3c", "663214d0-2d", "2d-6177d1e5f2a40", "1714558272123-0"),
    ],
)
def test_the_etag_of_a_store_is_not_compared_with_a_copy_on_disk(tmp_path, etag):
    (tmp_path / "a").write_bytes(b"abc")
    assert fetch([f"{tmp_path}/a"], [3], 10, [etag]) == [b"abc"]


def test_etags_as_they_are_written(bucket):
    url = bucket({"a": b"abc"})
    for etag in ("900150983cd24fb0d6963f7d28e17f72", '"900150983cd24fb0d6963f7d28e17f72"', "", None):
        assert fetch([f"{url}/a"], [3], 10, [etag]) == [b"abc"]
    assert (
        statuses(fetch([f"{url}/a"] * 2, [3] * 2, 10, ["900150983cd24fb0d6963f7d28e17f72-1", "7"]))
        == ["unavailable"] * 2
    )
    assert statuses(fetch([f"{url}/gone"], [3], 10, ["7"])) == ["missing"]


def test_an_object_that_came_in_parts(bucket):
    place = locate(f"{bucket({})}/a")
    data = bytes(6 << 20)
    with place.fs.open(place.path, "wb", block_size=5 << 20) as file:
        file.write(data)
    table = pa.concat_tables(objects(place))
    assert table["etag"][0].as_py().endswith("-1")
    assert fetch([place.url], [len(data)], len(data), table["etag"].to_pylist()) == [data]


def test_the_version_in_any_other_store_is_compared(monkeypatch):
    class Opened(io.BytesIO):
        details, size = {"etag": "2"}, 3

    class Store:
        def open(self, path, *_, **__):
            return Opened(b"abc")

    monkeypatch.setattr("cilf.images.fetch.filesystem", lambda scheme: Store())
    answers = fetch(["gs://b/a"] * 3, [None] * 3, 10, ["1", "2", None])
    assert statuses(answers) == ["unavailable", b"abc", b"abc"]


def test_paths_that_are_not_regular_files(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(tmp_path / "plug"))
        uris = [f"{tmp_path}/circle", f"{tmp_path}/plug", f"{tmp_path}/{'x' * 300}", f"{tmp_path}"]
        assert statuses(fetch(uris, [None] * 4, 10)) == ["missing", "unreadable", "missing", "unreadable"]
