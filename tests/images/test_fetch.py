import os

import fsspec
import pytest

from cilf.images.fetch import FetchError, fetch


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


def test_what_is_known_to_be_large_is_not_read(tmp_path):
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
    """What fsspec opens and has no reader of its own here, as gs://."""
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
