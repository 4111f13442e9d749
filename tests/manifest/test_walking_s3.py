"""Listing S3 in parallel: every key once, whatever it looks like and wherever a prefix is cut."""

from __future__ import annotations

import json
import random
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cilf.errors import UsageError
from cilf.manifest import walking_s3
from cilf.manifest.walking_s3 import S3Walk, holds_objects
from cilf.storage import locate

STRANGE = [
    "plain.jpg",
    "a b.jpg",
    "a+b.jpg",
    "100%.jpg",
    "%20.jpg",
    "hash#1?x=y&z.jpg",
    "[brackets]{x}*.jpg",
    "quote'\"`<>.jpg",
    "grüße/日本.jpg",
    "\U0001f600.jpg",
    "a//b.jpg",
    "//c.jpg",
    ".hidden/.x",
    "_underscore/_x",
    "date=2024-01-01/a.jpg",
    "marker/",
    "marker/inside",
    "marker.jpg",
    "x" * 900,
    "~last",
]


def walked(*urls: str, left=None) -> list[str]:
    walk = S3Walk([locate(url) for url in urls], left or {})
    return [uri for _, table, _ in walk.tables() for uri in table["uri"].to_pylist()]


def test_strange_keys_of_a_real_answer(bucket, monkeypatch):
    monkeypatch.setattr(walking_s3, "_PAGE", 4)
    url = bucket({f"p/{key}": key.encode() for key in STRANGE} | {"p2/other": b""})
    assert sorted(walked(f"{url}/p")) == sorted(f"{url}/p/{key}" for key in STRANGE)


def test_what_is_told_of_an_object(bucket):
    url = bucket({"p/a": b"abc"})
    ((source, table, left),) = S3Walk([locate(f"{url}/p")], {}).tables()
    (row,) = table.to_pylist()
    assert (source.url, left) == (f"{url}/p", [])
    assert (row["etag"], row["bytes"]) == ("900150983cd24fb0d6963f7d28e17f72", 3)
    assert row["modified"].tzinfo is not None


def corpus(kind: str, count: int) -> list[str]:
    draw = random.Random(kind)
    return {
        "flat": lambda: [f"p/{draw.getrandbits(64):016x}.jpg" for _ in range(count)],
        "counter": lambda: [f"p/IMG_{number:08d}.jpg" for number in range(count)],
        "dated": lambda: [f"p/{2015 + n % 9}/{n % 12:02d}/{draw.getrandbits(40):x}" for n in range(count)],
        "tiny folders": lambda: [f"p/user-{number // 3:06d}/{number % 3}" for number in range(count)],
        "skewed": lambda: [*(f"p/big/{n:06d}" for n in range(count - 9)), *(f"p/{n}/x" for n in range(9))],
        "beyond ASCII": lambda: [f"p/{chr(0xD500 + n)}\U0010ffff{n}" for n in range(min(count, 0x300))],
    }[kind]()


@pytest.mark.parametrize("kind", ["flat", "counter", "dated", "tiny folders", "skewed", "beyond ASCII"])
def test_a_long_prefix_is_cut(keys, kind):
    keys.keys, keys.page, keys.seconds = corpus(kind, 1000), 5, 0.005
    assert sorted(walked("s3://b/p")) == sorted(f"s3://b/{key}" for key in keys.keys)
    assert {prefix for prefix, _ in keys.asked} == {"p/"}
    assert 3 < keys.most_in_flight <= walking_s3.REQUESTS
    pages = [size for _, size in keys.asked if size > 1]
    assert len(pages) < 2 * len(keys.keys) / keys.page


def test_a_short_prefix_is_one_request(keys):
    keys.keys = corpus("flat", 1000)
    assert len(walked("s3://b/p")) == 1000
    assert len(keys.asked) == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.text(st.sampled_from("ab/~0\ud7ff\ue000\U0010ffff"), min_size=1, max_size=6), max_size=80),
    st.integers(1, 7),
)
def test_any_keys_are_listed_once(keys, names, page):
    keys.keys, keys.page = [f"p/{name}" for name in names], page
    assert sorted(walked("s3://b/p")) == sorted(f"s3://b/{key}" for key in keys.keys)


def test_many_prefixes_side_by_side(keys):
    keys.keys = [f"{folder}/{number}" for folder in string.ascii_letters for number in range(3)]
    keys.seconds = 0.1
    assert len(walked(*(f"s3://b/{folder}" for folder in string.ascii_letters))) == len(keys.keys)
    assert walking_s3.REQUESTS / 2 < keys.most_in_flight <= walking_s3.REQUESTS
    assert len(keys.asked) == len(string.ascii_letters)


@pytest.mark.parametrize("stop_at", [1, 2, 5, 9])
def test_what_is_left_is_exactly_what_has_not_come(keys, monkeypatch, stop_at):
    monkeypatch.setattr(walking_s3, "_TABLE_ROWS", 50)
    keys.keys, keys.page = corpus("dated", 600) + [f"q/{number}" for number in range(30)], 10
    sources = [locate("s3://b/p"), locate("s3://b/q")]
    first: list[str] = []
    left: dict[str, list[walking_s3.SpanLeft]] = {}
    for number, (source, table, spans) in enumerate(S3Walk(sources, {}).tables()):
        first += table["uri"].to_pylist()
        left[source.url] = spans
        if number == stop_at:
            break
    assert first
    left = json.loads(json.dumps(left))
    rest = walked(*(source.url for source in sources if left.get(source.url) != []), left=left)
    assert sorted(first + rest) == sorted(f"s3://b/{key}" for key in keys.keys)


def test_one_object(keys):
    keys.keys = ["a.jpg", "a.jpg.bak", "b/c"]
    assert walked("s3://b/a.jpg") == ["s3://b/a.jpg"]
    assert walked("s3://b/a") == []
    assert walked("s3://b/b") == ["s3://b/b/c"]


def test_no_other_prefix_is_needed(keys):
    keys.keys, keys.allowed, keys.page = [*corpus("dated", 300), "q"], "p/", 10
    assert len(walked("s3://b/p")) == 300
    assert holds_objects(locate("s3://b/p"))
    with pytest.raises(UsageError, match="no permission for s3://b/q"):
        walked("s3://b/q")
    keys.keys = []
    assert not holds_objects(locate("s3://b/p"))


def test_a_store_without_order_is_refused(keys, monkeypatch):
    keys.keys, keys.page = corpus("flat", 100), 10
    ordered = keys.__call__

    async def shuffled(*arguments, **options):
        answer = await ordered(*arguments, **options)
        answer["Listed"]["Key"].reverse()
        return answer

    monkeypatch.setattr(walking_s3, "_list", shuffled)
    with pytest.raises(UsageError, match="does not list keys in order"):
        walked("s3://b/p")


def test_the_fast_way_reads_what_botocore_reads(bucket):
    url = bucket({f"p/{key}": b"x" for key in STRANGE if key != "marker/"})
    source = locate(f"{url}/p")
    name = url.removeprefix("s3://")
    page = source.fs.call_s3("list_objects_v2", Bucket=name, Prefix="p/")
    expected = [
        (f"{url}/{item['Key']}", item["ETag"].strip('"'), item["Size"], item["LastModified"])
        for item in page["Contents"]
    ]
    ((_, table, _),) = S3Walk([source], {}).tables()
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
